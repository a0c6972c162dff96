"""Multiple-choice questions put otherwise, to two small language models: what moves, and which labels move less.

    python benchmarks/robustness.py --model strong --work DIR     ask one model; what is there already is not asked again
    python benchmarks/robustness.py --model weak --work DIR
    python benchmarks/robustness.py --report --work DIR           print the tables of docs/robustness.md

The models are those of `examples/local_models.py` (SmolLM2-135M-Instruct, and the same without one of its layers), the
questions those of `benchmarks/general_questions.py`. It needs the extra `torch`.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from general_questions import questions
from numpy.typing import NDArray

from routellm_core.embedders.bundled import BundledEmbedder
from routellm_core.evaluation.bootstrap import bootstrap_interval, bootstrap_pair
from routellm_core.evaluation.interval import Interval
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.robustness.demonstrations import Demonstration, Kind, demonstrate
from routellm_core.robustness.items import Item
from routellm_core.robustness.labels import average_answers, label_variances
from routellm_core.robustness.perturbations import PERTURBATIONS, rotate_choices
from routellm_core.robustness.scoring import Answers, LikelihoodModel, Rule
from routellm_core.routers.knn import KNNRouter

FOLDERS = {"strong": "smollm2-135m-instruct", "weak": "smollm2-135m-instruct-29-layers"}
POOL_SIZE = 12
SEED = 0


@dataclass(frozen=True)
class Run:
    """One way to ask all the questions."""

    rule: Rule = "symbol"
    change: Callable[[Item], Item] = lambda item: item
    shown: Kind = "none"
    shots: int = 2
    position: int = 0
    draw: int = 0

    def ask(self) -> tuple[list[Item], list[tuple[Demonstration, ...]]]:
        """Return the items as they are asked, and what stands before each."""
        everything = questions(seed=SEED)
        pool, items = everything[:POOL_SIZE], [self.change(item) for item in everything[POOL_SIZE:]]
        shown = [
            demonstrate(item, pool, self.shown, shots=self.shots, position=self.position, seed=SEED + self.draw)
            for item in items
        ]
        return items, shown


def _perturbed(name: str) -> Callable[[Item], Item]:
    return lambda item: PERTURBATIONS[name].apply(item, SEED)


def _rotated(steps: int) -> Callable[[Item], Item]:
    return lambda item: rotate_choices(item, steps)


LABELS = {
    "symbol": Run(),
    **{f"hybrid mixed {k}": Run("hybrid", shown="mixed", draw=k) for k in (0, 1)},
    **{f"symbol rotated {k}": Run(change=_rotated(k)) for k in (1, 2, 3)},
}
SENSITIVITY = {
    "hybrid": Run("hybrid"),
    "cloze": Run("cloze"),
    "hybrid shuffled": Run("hybrid", _perturbed("derange")),
    **{
        f"symbol {name}": Run(change=_perturbed(name))
        for name in ("common-symbols", "common-then-symbols", "common-then-texts")
    },
    "symbol few-shot": Run(shown="first"),
    "symbol correct in context": Run(shown="correct-in-context"),
    "symbol incorrect in context": Run(shown="incorrect-in-context"),
    "symbol shuffled": Run(change=_perturbed("derange")),
    "symbol biased A": Run(shown="biased", position=0),
    "symbol biased D": Run(shown="biased", position=3),
    **{f"symbol gold {k}": Run(change=_perturbed(f"gold-{k}")) for k in "ABCD"},
    "symbol spaces": Run(change=_perturbed("spaces")),
    "symbol wording": Run(change=_perturbed("wording")),
}
RUNS = {"strong": {"symbol": LABELS["symbol"], **SENSITIVITY, **LABELS}, "weak": LABELS}
"""What each model is asked, what matters most first."""


def ask(model: str, work: Path, models: Path, minutes: float, *, last_first: bool = False) -> int:
    """Ask one model what it has not been asked yet; returns how many runs are left."""
    import torch

    from routellm_core.robustness.likelihood import CausalScorer

    torch.set_float32_matmul_precision("medium")  # twice as fast where the processor can
    left = [name for name in RUNS[model] if not _file(work, model, name).exists()]
    started = time.monotonic()
    asked = (
        LikelihoodModel(CausalScorer(models / FOLDERS[model], batch_size=25), normalisation="chars") if left else None
    )
    left = left[::-1] if last_first else left
    while asked and left and time.monotonic() - started < 60 * minutes:
        name = left.pop(0)
        if _file(work, model, name).exists():  # another process has been here
            continue
        begun = time.monotonic()
        run = RUNS[model][name]
        items, shown = run.ask()
        answers = asked.answer(items, shown, rule=run.rule)
        seconds = time.monotonic() - begun
        _file(work, model, name).write_text(
            json.dumps({"chosen": answers.chosen, "how": answers.how, "seconds": seconds})
        )
        print(f"{model}: {name}: {answers.accuracy:.3f}, {seconds:.0f} s", file=sys.stderr, flush=True)
    return len(left)


def _file(work: Path, model: str, name: str) -> Path:
    return work / f"{model} {name}.json"


def read(work: Path, model: str, name: str) -> Answers:
    """Return the answers of a run."""
    kept = json.loads(_file(work, model, name).read_text())
    return Answers(tuple(RUNS[model][name].ask()[0]), tuple(kept["chosen"]), kept["how"])


def figures(answers: Answers, by: Literal["position", "symbol"] = "position") -> tuple[str, str]:
    """Return accuracy and RStd of a run, each with its 95% interval over questions, in percent."""
    right, n = np.nan_to_num(answers.correct), len(answers.items)

    def drawn(rows: NDArray[np.intp]) -> Answers:
        picked = rows.tolist()
        return Answers(tuple(answers.items[i] for i in picked), tuple(answers.chosen[i] for i in picked), answers.how)

    share = bootstrap_interval(lambda rows: 100 * float(right[rows].mean()), n)
    bias = bootstrap_interval(lambda rows: drawn(rows).recall_std(by), n, resamples=300)
    return _percent(share), _percent(bias)


def _percent(figure: Interval) -> str:
    return "n/a" if np.isnan(figure.value) else f"{figure.value:.1f} [{figure.low:.1f}, {figure.high:.1f}]"


def _change(changed: Answers, base: Answers) -> str:
    difference = 100 * (np.nan_to_num(changed.correct) - np.nan_to_num(base.correct))
    found = bootstrap_interval(lambda rows: float(difference[rows].mean()), len(difference))
    return f"{found.value:+.1f} [{found.low:+.1f}, {found.high:+.1f}]"


def show_runs(work: Path) -> None:
    """Print every run of the strong model beside the run that it is held against."""
    against = dict.fromkeys(SENSITIVITY, "symbol")
    against |= {"hybrid shuffled": "hybrid"}
    against |= {f"symbol common-then-{moved}": "symbol common-symbols" for moved in ("symbols", "texts")}
    against |= {f"symbol biased {k}": "symbol few-shot" for k in "AD"}
    print("| run | accuracy % | change | held against | RStd by position | RStd by symbol |")
    print("|---|---|---|---|---|---|")
    for name in ["symbol", *SENSITIVITY]:
        if not _file(work, "strong", name).exists():
            continue
        answers, base = read(work, "strong", name), against.get(name)
        share, bias = figures(answers)
        change = _change(answers, read(work, "strong", base)) if base and _file(work, "strong", base).exists() else ""
        print(f"| {name} | {share} | {change} | {base or ''} | {bias} | {figures(answers, 'symbol')[1]} |")


def label_sets(work: Path) -> dict[str, OutcomeTable]:
    """Return the labels of both models, by how they were made."""
    kinds = {
        "one order, symbol": ["symbol"],
        "permutation-averaged, symbol": ["symbol", *(f"symbol rotated {k}" for k in (1, 2, 3))],
        "hybrid, mixed few-shot": [f"hybrid mixed {k}" for k in (0, 1)],
    }
    items = questions(seed=SEED)[POOL_SIZE:]
    return {
        kind: average_answers(items, {model: [read(work, model, name) for name in names] for model in RUNS}, name=kind)
        for kind, names in kinds.items()
        if all(_file(work, model, name).exists() for model in RUNS for name in names)
    }


def cross_fitted(table: OutcomeTable, *, folds: int = 10, seed: int = SEED) -> NDArray[np.float64]:
    """Return the strong win rate of every question by a kNN router that was trained on the other folds."""
    embedder = BundledEmbedder()
    embeddings = embedder.embed(table.prompts)
    fold = np.random.default_rng(seed).permutation(len(table)) % folds
    rates = np.zeros(len(table))
    for k in range(folds):
        inside = fold == k
        router = KNNRouter(embeddings[~inside], table.scores[~inside], models=table.models, embedder=embedder, k=32)
        scores = router.score([table.prompts[i] for i in np.flatnonzero(inside)])
        strong, weak = (table.models.index(model) for model in RUNS)
        rates[inside] = (1 + scores[:, strong] - scores[:, weak]) / 2
    return rates


def show_labels(work: Path) -> None:
    """Print how biased and how noisy each kind of labels is, and how good the router that is trained on it."""
    sets = label_sets(work)
    gold = np.array([item.gold for item in questions(seed=SEED)[POOL_SIZE:]])
    print("\n| labels | model | mean % | RStd | variance within a question |\n|---|---|---|---|---|")
    for kind, table in sets.items():
        for model, variance in zip(table.models, label_variances(table), strict=True):
            score = table.column(model)

            def bias(rows: NDArray[np.intp], score: NDArray[np.float64] = score) -> float:
                return float(np.std([100 * score[rows][gold[rows] == k].mean() for k in range(4)]))

            mean = bootstrap_interval(lambda rows, score=score: 100 * float(score[rows].mean()), len(gold))  # type: ignore[misc]
            print(
                f"| {kind} | {model} | {_percent(mean)} | {_percent(bootstrap_interval(bias, len(gold)))} | {variance:.3f} |"
            )
    rates = {kind: cross_fitted(table) for kind, table in sets.items()}
    print("\n| trained on | measured against | gap, points | mean accuracy % | APGR |\n|---|---|---|---|---|")
    for kind, table in list(sets.items())[1:]:
        found = bootstrap_pair(rates, table.column("weak"), table.column("strong"), figures=["auc", "apgr"])
        gap = 100 * (found.strong.value - found.weak.value)
        for trained in rates:
            area = found.figures[trained]["auc"]
            scaled = Interval(100 * area.value, 100 * area.low, 100 * area.high)
            print(f"| {trained} | {kind} | {gap:+.1f} | {_percent(scaled)} | {found.figures[trained]['apgr']} |")
        *_, averaged, hybrid = rates
        print(
            f"| permutation-averaged less hybrid | {kind} | | {found.differences[averaged, hybrid]['auc']} (of 1) | |"
        )


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--model", choices=RUNS, help="which model to ask")
    action.add_argument("--report", action="store_true", help="print the tables")
    parser.add_argument("--work", type=Path, required=True, help="the folder for answers")
    parser.add_argument("--models", type=Path, default=Path("~/.cache/routellm-plugins/local-models").expanduser())
    parser.add_argument("--last-first", action="store_true", help="begin with the last run, beside another process")
    parser.add_argument("--minutes", type=float, default=60, help="begin no run after this many")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.model:
        return (
            3 if ask(options.model, options.work, options.models, options.minutes, last_first=options.last_first) else 0
        )
    show_runs(options.work)
    show_labels(options.work)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
