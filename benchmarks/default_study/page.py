"""Write docs/results.md and its figures from the stored results.

python -m benchmarks.default_study.page [--results FOLDER] [--out docs/results.md]
"""

import argparse
from pathlib import Path

from benchmarks.default_study import page_results, page_study
from benchmarks.default_study.data import RESULTS
from benchmarks.default_study.prose import prose
from benchmarks.replication.writing import Stored

FIGURES = {
    "curves": "Quality at every share of strong calls; the dotted line is random, the band is the 95% interval",
    "learning": "APGR on MMLU dev against labels of MMLU, mean of the draws; bars are the 95% interval of the first draw",
    "tried": "APGR on MMLU dev of all that was tried, with 95% intervals; the line is the shipped router",
}


def page(stored: Stored, folder: str) -> list[str]:
    """Return the lines of the page; its figures are in a folder beside it."""

    def figure(name: str) -> list[str]:
        return [f"![{FIGURES[name]}]({folder}/{name}.svg)", "", f"*{FIGURES[name]}.*", ""]

    return [
        *prose("head"),
        *page_results.beside(stored),
        *figure("curves"),
        *page_study.learning(stored),
        *figure("learning"),
        *page_results.elsewhere(stored),
        *page_results.behaviour(stored),
        *page_results.cost(stored),
        *page_study.tried(stored),
        *figure("tried"),
        *page_study.calibrated(stored),
        *page_study.short(stored),
        *prose("tail")[:-1],
    ]


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the stored results")
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"), help="the page")
    parser.add_argument("--text-only", action="store_true", help="draw no figure; needs no matplotlib")
    options = parser.parse_args()
    stored = Stored.read(options.results)
    if not options.text_only:
        from benchmarks.default_study.plots import draw

        draw(FIGURES, stored, options.out.parent / options.out.stem)
    lines = page(stored, options.out.stem)
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
