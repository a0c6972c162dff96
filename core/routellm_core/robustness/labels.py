"""Labels that do not hang on how a question was put: every item is asked several times, and the results are averaged."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import ConfigurationError
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.robustness.demonstrations import Demonstration, Kind, demonstrate
from routellm_core.robustness.items import Item, known_gold
from routellm_core.robustness.perturbations import rotate_choices
from routellm_core.robustness.scoring import Answerer, Answers, Progress, Rule, render


def permutation_labels(
    items: Sequence[Item],
    models: Sequence[Answerer],
    *,
    rule: Rule = "symbol",
    name: str = "permutation-averaged",
    progress: Progress | None = None,
) -> OutcomeTable:
    """Ask every item in all its cyclic orders, so that each text stands once at each position, and average correctness.

    Args:
        items: n items with gold answers; one of fewer choices has fewer orders.
        models: m models.
        rule: How answers are read.
        name: What reports call the table.
        progress: Told of the items that are done, of all models and orders.

    Returns:
        See `average_answers`.

    Raises:
        ConfigurationError: If there is no item or model, an id repeats, a model has no answer that can be read, or the rule is
            "cloze", which does not show the choices: all orders are one prompt.
    """
    if rule == "cloze":
        raise ConfigurationError(
            "rule 'cloze' does not show the choices, so all their orders are one prompt: average over demonstrations, or take "
            "rule 'symbol' or 'hybrid'"
        )
    orders = sorted({len(item.choices) for item in items})
    rounds = [
        ([rotate_choices(item, steps) for item in items if steps < len(item.choices)], None)
        for steps in range(max(orders, default=0))
    ]
    answers = _ask(models, rounds, rule, progress)
    about = {
        "averaged over": f"{' or '.join(map(str, orders))} cyclic orders of the choices",
        "scoring rule": rule,
        "seed": None,
        "models": _about(models),
    }
    return average_answers(items, answers, rule=rule, name=name, provenance=about)


def demonstration_labels(
    items: Sequence[Item],
    models: Sequence[Answerer],
    pool: Sequence[Item],
    *,
    rule: Rule = "hybrid",
    kind: Kind = "mixed",
    shots: int = 5,
    draws: int = 4,
    seed: int = 0,
    name: str = "hybrid-few-shot",
    progress: Progress | None = None,
) -> OutcomeTable:
    """Ask every item behind several draws of demonstrations, and average correctness.

    Args:
        items: n items with gold answers.
        models: m models.
        pool: Items that demonstrations are drawn from; they must not be among those that are asked.
        rule: How answers are read; arXiv 2402.01781 recommends "hybrid" behind "mixed" demonstrations.
        kind: See `demonstrate`.
        shots: Demonstrations before each item.
        draws: How often each item is asked, 1 or more.
        seed: Of the draws.
        name: What reports call the table.
        progress: Told of the items that are done, of all models and draws.

    Returns:
        See `average_answers`.

    Raises:
        ConfigurationError: If there is no item or model, draws is below 1, an item is in the pool too, or a model has no answer
            that can be read.
    """
    if draws < 1:
        raise ConfigurationError(f"draws must be 1 or more, not {draws!r}")
    shared = {item.id for item in items} & {item.id for item in pool}
    if shared:
        raise ConfigurationError(
            f"{len(shared)} items are asked and in the pool of demonstrations too: take them apart"
        )
    rounds: list[tuple[Sequence[Item], Any]] = [
        (items, [demonstrate(item, pool, kind, shots=shots, seed=seed + draw) for item in items])
        for draw in range(draws)
    ]
    answers = _ask(models, rounds, rule, progress)
    about = {
        "averaged over": f"{draws} draws of {shots} {kind} demonstrations",
        "scoring rule": rule,
        "seed": seed,
        "demonstrations": {
            "kind": _shown_kind(kind, items, pool, shots),
            "shots": shots,
            "draws": draws,
            "pool size": len(pool),
            "pool": [item.id for item in pool],
        },
        "models": _about(models),
    }
    return average_answers(items, answers, rule=rule, name=name, provenance=about)


def average_answers(
    items: Sequence[Item],
    answers: Mapping[str, Sequence[Answers]],
    *,
    rule: Rule = "symbol",
    name: str = "averaged",
    provenance: Mapping[str, Any] | None = None,
) -> OutcomeTable:
    """Average several rounds of answers to the same items into outcomes, on the prompts as they were before any change.

    Args:
        items: n items.
        answers: Model to its k rounds, each with one answer an item, in their order; a round may leave items out.
        rule: How answers were read.
        name: What reports call the table.
        provenance: How it was made.

    Returns:
        Scores are the shares of right answers among those that were asked for: one that cannot be read is wrong, as it is in
        `Answers.accuracy`. `samples` holds the single results, NaN where there is none or it cannot be read.

    Raises:
        ConfigurationError: If there are no answers, a round does not fit the items, or of a model no answer can be read.
    """
    rounds = {len(given) for given in answers.values()}
    if len(rounds) != 1 or 0 in rounds:
        raise ConfigurationError(f"every model needs as many rounds of answers, 1 or more, not {sorted(rounds)}")
    shape = (len(items), len(answers), rounds.pop())
    samples, asked = np.full(shape, np.nan), np.zeros(shape, np.bool_)
    for j, given in enumerate(answers.values()):
        for k, one in enumerate(given):
            rows = _rows(items, one.items)
            samples[rows, j, k], asked[rows, j, k] = one.correct, True
    for j, model in enumerate(answers):
        if np.isnan(samples[:, j]).all():
            raise ConfigurationError(f"of {model!r} no answer can be read")
    counts = asked.sum(axis=2)
    scores = np.where(counts > 0, np.nansum(samples, axis=2) / np.maximum(counts, 1), np.nan)
    first = next(iter(answers.values()))
    templates = list(dict.fromkeys(prompt_templates(items, rule)))
    about: dict[str, Any] = {
        "prompt template": templates[0] if len(templates) == 1 else templates,
        "read by": _alike({m: "; ".join(dict.fromkeys(one.how for one in given)) for m, given in answers.items()}),
        "instruction": _alike({m: next((a.instruction for a in g if a.instruction), None) for m, g in answers.items()}),
        "asked": sum(len(one.items) for one in first),
        "unparsable": {model: sum(one.unparsable for one in given) for model, given in answers.items()},
        **(provenance or {}),
        "variance within a prompt": {
            model: None if np.isnan(value) else round(float(value), 6)
            for model, value in zip(answers, _variances(samples), strict=True)
        },
    }
    return OutcomeTable(
        prompts=tuple(item.prompt for item in items),
        models=tuple(answers),
        scores=scores,
        prompt_ids=tuple(item.id for item in items),
        groups=tuple(item.group for item in items) if any(item.group for item in items) else None,
        samples=samples,
        provenance={key: value for key, value in about.items() if key != "instruction" or value is not None},
        name=name,
    )


def prompt_templates(items: Sequence[Item], rule: Rule) -> list[str]:
    """Return how each item is put by a rule, without its own words and what stands before it."""
    return [
        render(replace(item, question="{question}", choices=tuple(f"{{choice {s}}}" for s in item.symbols)), rule=rule)
        for item in items
    ]


def unreadable_shares(table: OutcomeTable) -> dict[str, float]:
    """Return the share of each model's answers that cannot be read, of a table that was made here."""
    return {model: count / table.provenance["asked"] for model, count in table.provenance["unparsable"].items()}


def label_variances(table: OutcomeTable) -> NDArray[np.float64]:
    """Return the mean variance of each model's results on one and the same prompt, shape (m,): 0 where all rounds agree.

    An answer that cannot be read is left out.

    Args:
        table: With `samples`; a prompt counts where it has two results or more.

    Raises:
        ConfigurationError: If the table has no samples.
    """
    if table.samples is None:
        raise ConfigurationError(f"table {table.name!r} has no repeated results")
    return _variances(table.samples)


def _variances(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    known = ~np.isnan(samples)
    counts = known.sum(axis=2)
    means = np.nansum(samples, axis=2) / np.maximum(counts, 1)
    spread = np.where(known, (samples - means[:, :, None]) ** 2, 0).sum(axis=2) / np.maximum(counts - 1, 1)
    valid = counts > 1
    mean = (spread * valid).sum(axis=0) / np.maximum(valid.sum(axis=0), 1)
    return np.asarray(np.where(valid.any(axis=0), mean, np.nan))


def _shown_kind(kind: Kind, items: Sequence[Item], pool: Sequence[Item], shots: int) -> str:
    """Return the kind of demonstrations, and where "mixed" could not have one of another group."""
    alone = sum(shots == 1 or all(one.group == item.group for one in pool) for item in items)
    if kind != "mixed" or not alone:
        return kind
    return "mixed, no other group" + ("" if alone == len(items) else f" for {alone} of {len(items)} items")


def _rows(items: Sequence[Item], answered: Sequence[Item]) -> list[int]:
    """Return the rows of the items that were answered."""
    rows = {item.id: row for row, item in enumerate(items)}
    found = [rows.get(item.id, -1) for item in answered]
    if -1 in found or sorted(set(found)) != found:
        raise ConfigurationError("a round of answers is to other items")
    return found


def _alike(values: Mapping[str, Any]) -> Any:
    """Return what is true of all models once, and else of each."""
    first = next(iter(values.values()))
    return first if all(value == first for value in values.values()) else dict(values)


def _about(models: Sequence[Answerer]) -> dict[str, Mapping[str, Any]]:
    return {model.name: getattr(model, "about", {}) for model in models}


def _ask(
    models: Sequence[Answerer],
    rounds: Sequence[tuple[Sequence[Item], Sequence[Sequence[Demonstration]] | None]],
    rule: Rule,
    progress: Progress | None,
) -> dict[str, list[Answers]]:
    if not models or not rounds or not rounds[0][0]:
        raise ConfigurationError("there must be one item and one model at least")
    for item in rounds[0][0]:
        known_gold(item)
    if len({item.id for item in rounds[0][0]}) < len(rounds[0][0]):
        raise ConfigurationError("the ids of items must differ")
    names = [model.name for model in models]
    if len(set(names)) != len(names):
        raise ConfigurationError(f"models need different names, not {names}")
    total = len(models) * sum(len(items) for items, _ in rounds)
    done = 0
    answers: dict[str, list[Answers]] = {name: [] for name in names}
    for model in models:
        for items, shown in rounds:

            def told(at: int, _: int, before: int = done) -> None:
                if progress is not None:
                    progress(before + at, total)

            answers[model.name].append(model.answer(items, shown, rule=rule, progress=told))
            done += len(items)
    return answers
