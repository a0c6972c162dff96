"""Multiple-choice questions put otherwise, to two small language models: what moves, and which labels move less.

    python benchmarks/robustness.py --ask strong --work DIR    ask one model; goes on where it was stopped
    python benchmarks/robustness.py --ask weak --work DIR
    python benchmarks/robustness.py --keep --work DIR          write what was chosen to benchmarks/robustness_answers.json
    python benchmarks/robustness.py --report                   print the tables; with --page docs/robustness.md, write them there

The models are those of `examples/local_models.py` (SmolLM2-135M-Instruct, and the same without one of its layers), the
questions those of `robustness_questions.py`. What is kept is not asked again: remove the file to begin anew. Asking needs
the extra `torch`.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from robustness_runs import BLOCKS, RUNS, Store

from routellm_core.robustness.scoring import LikelihoodModel, Normalisation

FOLDERS = {"strong": "smollm2-135m-instruct", "weak": "smollm2-135m-instruct-29-layers"}
KEPT = Path(__file__).with_name("robustness_answers.json")
NORMALISATIONS: tuple[Normalisation, ...] = ("tokens", "bytes", "none")
BATCH = 25
BEGIN, END = "<!-- tables of benchmarks/robustness.py -->", "<!-- end of tables -->"


def ask(model: str, work: Path, models: Path, minutes: float, *, last_first: bool = False) -> bool:
    """Ask one model what it has not been asked yet; returns whether nothing is left."""
    import torch

    from routellm_core.robustness.likelihood import CausalScorer

    torch.set_num_threads(1)  # two wait for each other on a shared machine
    store = Store(work / f"{model}.jsonl", model)
    scorer = CausalScorer(models / FOLDERS[model], batch_size=BATCH)
    ends = time.monotonic() + 60 * minutes
    done = answers().get(model, {})
    for how, all_names in reversed(BLOCKS[model]) if last_first else BLOCKS[model]:
        names = [name for name in all_names if name not in done]
        begun = time.process_time()
        parts = list(_together(how, [RUNS[name].texts() for name in names]))
        for prompts in reversed(parts) if last_first else parts:
            if time.monotonic() > ends:
                return False
            store.refresh()
            lacking = {prompt: store.lacks(prompt, texts) for prompt, texts in prompts.items()}
            asked = {prompt: texts for prompt, texts in lacking.items() if texts}
            if asked:
                store.add(list(asked), list(asked.values()), scorer.log_likelihoods(list(asked), list(asked.values())))
        print(f"{model}: {', '.join(names)}: {time.process_time() - begun:.0f} s", file=sys.stderr, flush=True)
    return True


def _together(how: str, runs: Sequence[Sequence[tuple[str, list[str]]]]) -> Iterator[dict[str, list[str]]]:
    """Yield prompts with what may follow them, as many as are read at once."""
    if how == "ways":
        parts = list(zip(*runs, strict=True))
    else:
        rows = sorted((row for run in runs for row in run), key=lambda row: len(row[0]))
        parts = [tuple(rows[i : i + BATCH]) for i in range(0, len(rows), BATCH)]
    for part in parts:
        prompts: dict[str, list[str]] = {}
        for prompt, texts in part:
            known = prompts.setdefault(prompt, [])
            known.extend(text for text in texts if text not in known)
        yield prompts


def answers() -> dict[str, dict[str, str]]:
    """Return what was kept: by model and run, what was chosen for each question as one digit."""
    kept: dict[str, dict[str, str]] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    return kept


def keep(work: Path) -> None:
    """Add what each model chose in each further run that is complete."""
    kept = answers()
    for model, blocks in BLOCKS.items():
        store = Store(work / f"{model}.jsonl", model)
        kept.setdefault(model, {})
        for name in dict.fromkeys(name for _, names in blocks for name in names):
            run = RUNS[name]
            if name in kept[model]:
                continue
            if any(store.lacks(prompt, texts) for prompt, texts in run.texts()):
                print(f"{model} has not been asked: {name}", file=sys.stderr)
                continue
            items, shown = run.ask()
            kinds: dict[str, Normalisation] = {name: "chars"}
            if name in ("hybrid", "cloze"):  # they cost nothing
                kinds |= {f"{name} / {kind}": kind for kind in NORMALISATIONS}
            for label, kind in kinds.items():
                found = LikelihoodModel(store, normalisation=kind).answer(items, shown, rule=run.rule)
                kept[model][label] = "".join(map(str, found.chosen))
    KEPT.write_text(json.dumps(kept, indent=1) + "\n")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--ask", choices=FOLDERS, help="which model to ask; exit code 3 if it is not through")
    action.add_argument("--keep", action="store_true", help="write what was chosen to a file of this folder")
    action.add_argument("--report", action="store_true", help="print the tables")
    parser.add_argument("--page", type=Path, help="a page whose tables --report writes anew")
    parser.add_argument("--work", type=Path, help="the folder for likelihoods; for --ask and --keep")
    parser.add_argument("--models", type=Path, default=Path("~/.cache/routellm-plugins/local-models").expanduser())
    parser.add_argument("--last-first", action="store_true", help="begin with the last, beside another process")
    parser.add_argument("--minutes", type=float, default=600, help="ask no more after this many")
    options = parser.parse_args()
    if options.report:
        from robustness_tables import tables

        found = "\n".join(tables(answers()))
        if options.page is None:
            print(found)
        else:
            before, _, rest = options.page.read_text().partition(BEGIN)
            options.page.write_text(f"{before}{BEGIN}\n\n{found}\n\n{END}{rest.partition(END)[2]}")
        return 0
    if options.work is None:
        parser.error("--ask and --keep need --work")
    options.work.mkdir(parents=True, exist_ok=True)
    if options.keep:
        keep(options.work)
        return 0
    through = ask(options.ask, options.work, options.models, options.minutes, last_first=options.last_first)
    return 0 if through else 3


if __name__ == "__main__":
    raise SystemExit(main())
