"""The tables of what `robustness.py` found: runs, and the labels and routers that are made of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from robustness_questions import question_set
from robustness_runs import BIASED, CONTEXT, GOLD, MIXED, MOVED, NEW, ROTATED, RUNS, SEED

from routellm_core.embedders.bundled import BundledEmbedder
from routellm_core.evaluation.bootstrap import bootstrap_interval, bootstrap_pair
from routellm_core.evaluation.interval import Interval
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.robustness.items import known_gold
from routellm_core.robustness.labels import average_answers, label_variances
from routellm_core.robustness.metrics import recall_std
from routellm_core.robustness.scoring import Answers
from routellm_core.routers.knn import KNNRouter

Floats = NDArray[np.float64]
Kept = Mapping[str, Mapping[str, str]]
LABELS = {
    "one order, by symbol": ROTATED[:1],
    "permutation-averaged, by symbol": ROTATED,
    "hybrid, mixed few-shot": MIXED,
    "cloze": ["cloze"],
}
AVERAGED, HYBRID, REFERENCE = list(LABELS)[1:]
MODELS = ("strong", "weak")


def tables(kept: Kept) -> Iterator[str]:
    """Yield the lines of every table for what was chosen: model -> run -> one digit a question."""
    everything = {model: {name: read(name, chosen) for name, chosen in runs.items()} for model, runs in kept.items()}
    strong, sets = everything["strong"], label_sets(everything)
    parts: dict[str, Iterator[str]] = {
        "Rules, the strong model": rules(strong),
        "Rules, the weak model": rules(everything["weak"]),
        "Choices moved; every right answer at one position": changes(strong, ["symbol", "hybrid", *MOVED, *GOLD]),
        "Symbols against positions": changes(strong, ["symbol", *NEW]),
        "Demonstrations": changes(strong, ["symbol", "5 shots", *BIASED, *CONTEXT, *MIXED]),
        "RStd of a model without a bias, by its accuracy": null(next(iter(strong.values()))),
        "Labels": labels(sets),
        "Routers trained on them": routers(sets),
    }
    for title, part in parts.items():
        lines = "\n".join(part).splitlines()
        if len(lines) > 2:  # a table whose runs are not through has a heading only
            yield from (f"**{title}**", "", *lines, "")


def read(name: str, chosen: str) -> Answers:
    """Return the answers of a run."""
    run = RUNS[name.partition(" / ")[0]]
    return Answers(tuple(run.ask()[0]), tuple(map(int, chosen)), name)


def spread(right: Floats, options: Sequence[object], rows: NDArray[np.intp] | None = None) -> float:
    """Return RStd: the standard deviation over options of how often items whose right option it is are answered right."""
    names, at = np.unique(np.asarray(options), return_inverse=True)
    if rows is not None:
        right, at = right[rows], at[rows]
    counts = np.bincount(at, minlength=len(names))
    with np.errstate(invalid="ignore"):
        return float(np.std(100 * np.bincount(at, right, len(names)) / counts))


def _options(answers: Answers, by: Literal["position", "symbol"]) -> list[object]:
    return [known_gold(item) if by == "position" else item.gold_symbol for item in answers.items]


def bias(answers: Answers, by: Literal["position", "symbol"] = "position") -> str:
    """Return RStd with its interval; not defined where all right answers stand at one position."""
    options = _options(answers, by)
    if len(set(options)) == 1:
        assert np.isnan(recall_std(options, list(answers.chosen), range(4)))
        return "n/a"
    assert abs(spread(answers.correct, options) - answers.recall_std(by)) < 1e-9
    return percent(bootstrap_interval(lambda rows: spread(answers.correct, options, rows), len(options)))


def percent(figure: Interval, form: str = ".1f") -> str:
    """Return a figure with its interval, one decimal."""
    return "n/a" if np.isnan(figure.value) else f"{figure.value:{form}} [{figure.low:{form}}, {figure.high:{form}}]"


def mean(values: Floats, form: str = ".1f") -> str:
    """Return a mean in percent with its interval over questions."""
    return percent(bootstrap_interval(lambda rows: 100 * float(values[rows].mean()), len(values)), form)


def most(answers: Answers, by: Literal["position", "symbol"] = "position") -> str:
    """Return the option that is chosen most, and its share."""
    names = [
        "ABCD"[place or 0] if by == "position" else item.symbols[place or 0]
        for item, place in zip(answers.items, answers.chosen, strict=True)
    ]
    top = max(sorted(set(names)), key=names.count)
    return f"{top} {names.count(top) / len(names):.0%}"


def rules(runs: Mapping[str, Answers]) -> Iterator[str]:
    """Yield accuracies by each rule, on all questions and on both halves."""
    yield "| rule | accuracy | on MMLU | on facts | RStd | chosen most |\n|---|---|---|---|---|---|"
    for name in ("symbol", "hybrid", "cloze"):
        for run in [one for one in runs if one == name or one.startswith(f"{name} / ")]:
            answers = runs[run]
            on_mmlu = np.array([item.group == "mmlu" for item in answers.items])
            right = answers.correct
            cells = [mean(right), mean(right[on_mmlu]), mean(right[~on_mmlu]), bias(answers), most(answers)]
            yield f"| {run} | {' | '.join(cells)} |"


AGAINST = {
    **dict.fromkeys([*MOVED[:1], *NEW[:1], *GOLD, "5 shots", *CONTEXT], "symbol"),
    **dict.fromkeys([*MOVED[1:], *MIXED], "hybrid"),
    **dict.fromkeys(NEW[1:], "new symbols"),
    **dict.fromkeys(BIASED, "5 shots"),
}
"""What each change is held against."""


def changes(runs: Mapping[str, Answers], names: Sequence[str]) -> Iterator[str]:
    """Yield runs, each beside what it is held against."""
    yield "| asked | accuracy | change | RStd by position | change | RStd by symbol | chosen most |"
    yield "|---|---|---|---|---|---|---|"
    for name in [name for name in names if name in runs]:
        answers, base = runs[name], runs.get(AGAINST.get(name, ""))
        cells = [mean(answers.correct), "", bias(answers), "", bias(answers, "symbol"), most(answers, "symbol")]
        if base is not None:
            cells[1] = f"{mean(answers.correct - base.correct, '+.1f')}, {AGAINST[name]}"
            cells[3] = _bias_change(answers, base)
        yield f"| {name} | {' | '.join(cells)} |"


def _bias_change(answers: Answers, base: Answers) -> str:
    first, second = _options(answers, "position"), _options(base, "position")
    if len(set(first)) == 1:
        return "n/a"

    def change(rows: NDArray[np.intp]) -> float:
        return spread(answers.correct, first, rows) - spread(base.correct, second, rows)

    return percent(bootstrap_interval(change, len(first)), "+.1f")


def null(answers: Answers) -> Iterator[str]:
    """Yield the RStd of a model that has no bias: right answers fall on options by chance."""
    rng, options = np.random.default_rng(SEED), _options(answers, "position")
    yield "| accuracy | mean RStd | 95% are below |\n|---|---|---|"
    for level in (0.25, 0.4, 0.5):
        drawn = [spread((rng.random(len(options)) < level).astype(float), options) for _ in range(2000)]
        yield f"| {level:.0%} | {np.mean(drawn):.1f} | {np.quantile(drawn, 0.95):.1f} |"


def label_sets(everything: Mapping[str, Mapping[str, Answers]]) -> dict[str, OutcomeTable]:
    """Return the labels of both models, by how they were made."""
    items = question_set(seed=SEED)[1]
    found = {}
    for kind, names in LABELS.items():
        asked = [name for name in names if all(name in runs for runs in everything.values())]
        if asked and (kind == HYBRID or asked == names):  # fewer draws of demonstrations will do
            answers = {model: [everything[model][name] for name in asked] for model in MODELS}
            found[kind] = average_answers(items, answers, name=kind)
    return found


def labels(sets: Mapping[str, OutcomeTable]) -> Iterator[str]:
    """Yield how high, how biased and how noisy each kind of labels is."""
    gold = [known_gold(item) for item in question_set(seed=SEED)[1]]
    yield "| labels | model | mean | RStd | variance within a question | between questions |\n|---|---|---|---|---|---|"
    for kind, table in sets.items():
        repeated = table.samples is not None and table.samples.shape[2] > 1
        within = label_variances(table) if repeated else [np.nan] * len(table.models)
        for model, variance in zip(table.models, within, strict=True):
            score = table.column(model)
            rstd = percent(bootstrap_interval(_spread_of(score, gold), len(gold)))
            noise = f"{variance:.3f}" if repeated else "one answer"
            yield f"| {kind} | {model} | {mean(score)} | {rstd} | {noise} | {score.var():.3f} |"
    for model in MODELS if {AVERAGED, HYBRID} <= set(sets) else ():
        first, second = (_spread_of(sets[kind].column(model), gold) for kind in (AVERAGED, HYBRID))
        found = bootstrap_interval(lambda rows, a=first, b=second: a(rows) - b(rows), len(gold))  # type: ignore[misc]
        yield f"| permutation-averaged less hybrid | {model} | | {percent(found, '+.1f')} | | |"


def _spread_of(score: Floats, gold: Sequence[int]) -> Callable[[NDArray[np.intp]], float]:
    return lambda rows: spread(score, gold, rows)


def cross_fitted(table: OutcomeTable, *, folds: int = 10, seed: int = SEED) -> Floats:
    """Return the strong win rate of every question by a kNN router that was trained on the other folds."""
    embedder = BundledEmbedder()
    embeddings = embedder.embed(table.prompts)
    fold = np.random.default_rng(seed).permutation(len(table)) % folds
    rates = np.zeros(len(table))
    strong, weak = table.models.index("strong"), table.models.index("weak")
    for k in range(folds):
        inside = fold == k
        router = KNNRouter(embeddings[~inside], table.scores[~inside], models=table.models, embedder=embedder, k=32)
        scores = router.score_from_embeddings(embeddings[inside])
        rates[inside] = (1 + scores[:, strong] - scores[:, weak]) / 2
    return rates


def routers(sets: Mapping[str, OutcomeTable]) -> Iterator[str]:
    """Yield how good the router is that is trained on each kind of labels, measured against each kind."""
    rates = {kind: cross_fitted(table) for kind, table in sets.items()}
    yield "| measured against | strong less weak | trained on | mean accuracy | APGR |\n|---|---|---|---|---|"
    for against in [kind for kind in (AVERAGED, HYBRID, REFERENCE) if kind in sets]:
        weak, strong = (sets[against].column(model) for model in ("weak", "strong"))
        # Labels that are all equal make a router that does not tell questions apart: it is as good as a random order.
        found = bootstrap_pair(rates, weak, strong, figures=["auc", "apgr"], expectations=set(rates))
        gap = mean(strong - weak, "+.1f")
        for trained in rates:
            area, apgr = _scaled(found.figures[trained]["auc"]), found.figures[trained]["apgr"]
            gained = "n/a" if np.isnan(apgr.low) else str(apgr)  # the gap is 0 in some draws
            yield f"| {against} | {gap} | {trained} | {percent(area)} | {gained} |"
        if {AVERAGED, HYBRID} <= set(sets):
            area = _scaled(found.differences[AVERAGED, HYBRID]["auc"])
            yield f"| {against} | | permutation-averaged less hybrid | {percent(area, '+.1f')} | |"


def _scaled(figure: Interval) -> Interval:
    return Interval(100 * figure.value, 100 * figure.low, 100 * figure.high)
