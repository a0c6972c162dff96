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
from routellm_core.robustness.scoring import Answerer, Answers, Progress, Rule


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
        items: n items with gold answers and as many choices each.
        models: m models.
        rule: How answers are read.
        name: What reports call the table.
        progress: Told of the items that are done, of all models and orders.

    Returns:
        Scores are means over the orders; `samples` holds the single results, NaN where an answer could not be read.

    Raises:
        ConfigurationError: If there is no item or model, or the numbers of choices differ.
    """
    orders = sorted({len(item.choices) for item in items})
    if len(orders) != 1:
        raise ConfigurationError(f"all items must have as many choices, not {orders}: make one table for each number")
    rounds = [([rotate_choices(item, steps) for item in items], None) for steps in range(orders[0])]
    answers = _ask(models, rounds, rule, progress)
    about = {"averaged over": f"{orders[0]} cyclic orders of the choices", "scoring rule": rule, "seed": None}
    return average_answers(items, answers, name=name, provenance=about)


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
        As `permutation_labels` does.

    Raises:
        ConfigurationError: If there is no item or model, draws is below 1, or an item is in the pool too.
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
            "pool": [item.id for item in pool],
        },
    }
    return average_answers(items, answers, name=name, provenance=about)


def average_answers(
    items: Sequence[Item],
    answers: Mapping[str, Sequence[Answers]],
    *,
    name: str = "averaged",
    provenance: Mapping[str, Any] | None = None,
) -> OutcomeTable:
    """Average several rounds of answers to the same items into outcomes, on the prompts as they were before any change.

    Args:
        items: n items.
        answers: Model to its k rounds, each with one answer an item.
        name: What reports call the table.
        provenance: How it was made.

    Raises:
        ConfigurationError: If there are no answers, or rounds do not fit the items.
    """
    rounds = {len(given) for given in answers.values()}
    if len(rounds) != 1 or 0 in rounds:
        raise ConfigurationError(f"every model needs as many rounds of answers, 1 or more, not {sorted(rounds)}")
    for given in answers.values():
        for one in given:
            if [item.id for item in one.items] != [item.id for item in items]:
                raise ConfigurationError("a round of answers is to other items")
    samples = np.stack(
        [np.stack([one.correct for one in given], axis=1) for given in answers.values()], axis=1
    )  # (n, m, k)
    counts = (~np.isnan(samples)).sum(axis=2)
    scores = np.where(counts > 0, np.nansum(samples, axis=2) / np.maximum(counts, 1), np.nan)
    unreadable = {model: sum(one.unparsable for one in given) for model, given in answers.items()}
    read_by = {model: "; ".join(dict.fromkeys(one.how for one in given)) for model, given in answers.items()}
    variances = dict(zip(answers, (round(float(v), 6) for v in _variances(samples)), strict=True))
    return OutcomeTable(
        prompts=tuple(item.prompt for item in items),
        models=tuple(answers),
        scores=scores,
        prompt_ids=tuple(item.id for item in items),
        groups=tuple(item.group for item in items) if any(item.group for item in items) else None,
        samples=samples,
        provenance={
            "prompt template": _template(items[0]),
            "read by": read_by if len(set(read_by.values())) > 1 else next(iter(read_by.values())),
            "unparsable": unreadable,
            **(provenance or {}),
            "variance within a prompt": variances,
        },
        name=name,
    )


def label_variances(table: OutcomeTable) -> NDArray[np.float64]:
    """Return the mean variance of each model's results on one and the same prompt, shape (m,): 0 where all rounds agree.

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


def _template(item: Item) -> str:
    return replace(item, question="{question}", choices=tuple(f"{{choice {s}}}" for s in item.symbols)).prompt


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
