"""Write docs/results.md and its figures from the stored results.

python -m benchmarks.default_study.page [--results FOLDER] [--out docs/results.md]
"""

import argparse
from pathlib import Path

from benchmarks.default_study import page_results, page_study, plots
from benchmarks.default_study.data import RESULTS
from benchmarks.default_study.prose import prose
from benchmarks.replication.writing import Stored


def page(stored: Stored, out: Path) -> list[str]:
    """Return the lines of the page; the figures go into a folder beside it."""
    figures = plots.draw(stored, out.parent / out.stem)

    def figure(name: str) -> list[str]:
        return [f"![{figures[name]}]({out.stem}/{name}.svg)", "", f"*{figures[name]}.*", ""]

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
    options = parser.parse_args()
    lines = page(Stored.read(options.results), options.out)
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
