"""What every training on battles begins and ends with: a part held out, the pair, and what is measured on that part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from routellm_core.calibration import ThresholdTable
from routellm_core.errors import ConfigurationError, UnknownModelError
from routellm_core.evaluation.bootstrap import bootstrap_pair
from routellm_core.evaluation.interval import Interval
from routellm_core.evaluation.log_loss import BLIND_RATE, clustered_mean, log_loss_figures
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.ratings import bradley_terry, pair_statistics, win_probability
from routellm_core.routers.pretrained import PretrainedRouter
from routellm_core.training.measures import (
    calibration_table,
    log_loss,
    log_losses,
    prompt_blind_rates,
    prompt_blind_strengths,
)
from routellm_core.training.report import LossPoint, TrainingReport

Array = NDArray[np.float64]
RouterT = TypeVar("RouterT", bound=PretrainedRouter)

_FIGURES = ("apgr", "cpt50", "cpt80")
_RESAMPLES = 1000


class SplitSettings(Protocol):
    """What the settings of every training on battles say of its data; see `BattleSplit.of`."""

    @property
    def validation_fraction(self) -> float:
        """The share of the distinct prompts that is held out."""
        ...

    @property
    def seed(self) -> int:
        """Of the draw."""
        ...

    @property
    def reference_strong(self) -> str | None:
        """The strong model; None: see `reference_pair`."""
        ...

    @property
    def reference_weak(self) -> str | None:
        """The weak one."""
        ...


@dataclass(frozen=True, eq=False)
class BattleSplit:
    """Battles to learn from and battles to measure on, which have no prompt in common.

    Attributes:
        training: What is learned from.
        validation: What decides when to stop, and what the report's numbers are of.
        models: The models of both, sorted.
        strong: The strong model of the reference pair.
        weak: The weak one.
    """

    training: PreferenceDataset
    validation: PreferenceDataset
    models: tuple[str, ...]
    strong: str
    weak: str

    @classmethod
    def of(
        cls, dataset: PreferenceDataset, validation: PreferenceDataset | None, settings: SplitSettings
    ) -> "BattleSplit":
        """Hold a part out and settle the reference pair.

        Args:
            dataset: Battles.
            validation: The part to hold out, if it is given; `dataset` is then all training. None draws it from `dataset`.
            settings: How much is drawn, and the pair.

        Raises:
            ConfigurationError: If there are no battles, or the parts given have a prompt in common.
            UnknownModelError: If a model of the pair has no battle to learn from.
        """
        if validation is None:
            training, validation = dataset.split(validation_fraction=settings.validation_fraction, seed=settings.seed)
        else:
            training = dataset
            common = set(training.prompts) & set(validation.prompts)
            if common:
                raise ConfigurationError(
                    f"{len(common)} prompts are in the training and in the validation part: what is measured on them says "
                    "nothing of others; leave them out of one part"
                )
        if not len(training) or not len(validation):
            raise ConfigurationError(
                f"there are {len(training)} battles to learn from and {len(validation)} to measure on: both need one or more"
            )
        if any(part.weight is not None and not part.weight.any() for part in (training, validation)):
            raise ConfigurationError("every battle of a part has the weight 0: there is nothing to learn from")
        models = tuple(sorted({*training.models, *validation.models}))
        strong, weak = reference_pair(training, settings.reference_strong, settings.reference_weak)
        return cls(training, validation, models, strong, weak)

    def counts(self) -> dict[str, int]:
        """Return the sizes for a report."""
        return {
            "models": len(self.models),
            "training battles": len(self.training),
            "training prompts": len(self.training.prompts),
            "training ties": int((self.training.outcome == 0.5).sum()),
            "validation battles": len(self.validation),
            "validation prompts": len(self.validation.prompts),
        }

    def held_out(self) -> "HeldOut":
        """Return the validation battles with what Bradley-Terry says of them."""
        part, known = self.validation, self.training
        strengths = prompt_blind_strengths(known, known.models)
        strong, weak = (strengths[known.models.index(model)] for model in (self.strong, self.weak))
        return HeldOut(
            outcome=part.outcome,
            baseline=prompt_blind_rates(known, part),
            prompt_index=part.prompt_index,
            weight=part.weight,
            pair=pair_outcomes(part, self.strong, self.weak),
            blind_rate=float(win_probability(strong, weak)),
        )


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What a router is measured on: n outcomes in [0, 1], and what can be said of them without their prompts.

    Attributes:
        outcome: Shape (n,); a tie is 0.5.
        baseline: What the best that knows no prompt predicts, shape (n,).
        prompt_index: Which prompt each belongs to, shape (n,).
        weight: Shape (n,); None weighs all alike.
        pair: The scores of the reference pair, (strong, weak), on these prompts; None if there are none.
        blind_rate: How often strong wins against weak, ties half, as far as one can know without the prompts.
    """

    outcome: Array
    baseline: Array
    prompt_index: NDArray[np.int64]
    weight: Array | None
    pair: OutcomeTable | None
    blind_rate: float


def reference_pair(dataset: PreferenceDataset, strong: str | None, weak: str | None) -> tuple[str, str]:
    """Settle which pair a router scores unless told otherwise.

    What is not given is chosen so that as many battles as possible are between the two, by their weights; of two that were both
    not given, the one that is better by Bradley-Terry is strong.

    Raises:
        UnknownModelError: If one has no battle.
        ConfigurationError: If both are the same model, or there is one model alone.
    """
    for role, model in (("reference_strong", strong), ("reference_weak", weak)):
        if model is not None and model not in dataset.models:
            raise UnknownModelError(f"{role}={model!r} has no battle; there are those of: {', '.join(dataset.models)}")
    if strong is not None and strong == weak:
        raise ConfigurationError(f"a pair has two different models, not {strong!r} twice")
    names = dataset.models
    if len(names) < 2:
        raise ConfigurationError("a router needs battles between two models or more, and there are none")
    if strong is not None and weak is not None:
        return strong, weak
    counts, wins = pair_statistics(dataset.model_a, dataset.model_b, dataset.outcome, len(names), dataset.weight)
    given = strong if strong is not None else weak
    if given is None:
        i, j = divmod(int(np.argmax(np.triu(counts + 1.0, k=1))), len(names))  # of battles that all weigh 0 too
        strengths = bradley_terry(wins)
        better, other = (i, j) if strengths[i] >= strengths[j] else (j, i)
        return names[better], names[other]
    row = counts[names.index(given)].copy()
    row[names.index(given)] = -1.0
    other_name = names[int(np.argmax(row))]
    return (given, other_name) if strong is not None else (other_name, given)


def pair_outcomes(dataset: PreferenceDataset, strong: str, weak: str) -> OutcomeTable | None:
    """Return the battles of one pair as a table of outcomes: what each of the two won on a prompt, ties half.

    Several battles on a prompt count as their mean, by their weights; those of weight 0 are left out. Prompts count the same.
    `routellm evaluate` reads such a table.

    Returns:
        None if the two never met.
    """
    if strong not in dataset.models or weak not in dataset.models:
        return None
    s, w = dataset.models.index(strong), dataset.models.index(weak)
    forth = (dataset.model_a == s) & (dataset.model_b == w)
    back = (dataset.model_a == w) & (dataset.model_b == s)
    weight = np.ones(len(dataset)) if dataset.weight is None else dataset.weight
    rows = (forth | back) & (weight > 0)
    if not rows.any():
        return None
    won, weight = np.where(forth, dataset.outcome, 1.0 - dataset.outcome)[rows], weight[rows]
    prompts, index = np.unique(dataset.prompt_index[rows], return_inverse=True)
    share = np.bincount(index, weight * won) / np.bincount(index, weight)
    return OutcomeTable(
        prompts=tuple(dataset.prompts[i] for i in prompts),
        models=(strong, weak),
        scores=np.stack([share, 1.0 - share], axis=1),
        name="held out",
    )


def paired_gain(losses: Array, others: Array, clusters: NDArray[np.intp], *, weight: Array | None = None) -> Interval:
    """Return by how much the mean of some losses is below that of others on the same rows, with its bootstrap interval.

    Args:
        losses: Shape (n,).
        others: Shape (n,).
        clusters: Which prompt each row belongs to, shape (n,): prompts are drawn, with all of their rows.
        weight: Shape (n,); None weighs all alike.
    """
    return clustered_mean(others - losses, clusters, weight=weight, resamples=_RESAMPLES)


def pair_figures(table: OutcomeTable, strong_win_rates: Array, blind_rate: float) -> dict[str, Any]:
    """Return what `routellm evaluate` prints of a router on a table of its pair: APGR, CPT and log loss with intervals.

    Args:
        table: What `pair_outcomes` returned.
        strong_win_rates: The router's, shape (n,).
        blind_rate: See `HeldOut`.
    """
    strong, weak = table.models
    found = bootstrap_pair(
        {"router": strong_win_rates},
        table.column(weak),
        table.column(strong),
        levels=(0.5, 0.8),
        resamples=_RESAMPLES,
        figures=_FIGURES,
    )
    losses = log_loss_figures(
        strong_win_rates, table.column(weak), table.column(strong), blind_rate, resamples=_RESAMPLES
    )
    figures = {name: figure.to_dict() for name, figure in (found.figures["router"] | losses).items()}
    return {"strong": strong, "weak": weak, "prompts": len(table), BLIND_RATE: blind_rate, **figures}


def finish(
    router: RouterT,
    held_out: HeldOut,
    *,
    rates: Array,
    strong_win_rates: Mapping[str, float],
    counts: Mapping[str, int],
    config: Mapping[str, Any],
    seed: int,
    history: Sequence[LossPoint],
    best_step: int,
    seconds: float,
) -> tuple[RouterT, TrainingReport]:
    """Measure a trained router on what was held out; return it with thresholds and a filled card, and the report.

    Args:
        router: What was trained.
        held_out: What it is measured on.
        rates: What it predicts of each outcome, shape (n,).
        strong_win_rates: Its strong win rate on every prompt held out, by prompt.
        counts: The sizes of the data.
        config: The settings, as plain JSON.
        seed: What was drawn from.
        history: The losses over time.
        best_step: The step the router was taken from.
        seconds: How long it took.
    """
    outcome, baseline, weight = held_out.outcome, held_out.baseline, held_out.weight
    gain = paired_gain(log_losses(outcome, rates), log_losses(outcome, baseline), held_out.prompt_index, weight=weight)
    metrics: dict[str, Any] = {"log loss gained over it": gain.to_dict()}
    if held_out.pair is not None:
        win_rates = np.array([strong_win_rates[prompt] for prompt in held_out.pair.prompts])
        metrics["reference pair"] = pair_figures(held_out.pair, win_rates, held_out.blind_rate)
    report = TrainingReport(
        router=router.name,
        config=config,
        seed=seed,
        counts=counts,
        history=tuple(history),
        baseline_loss=log_loss(outcome, baseline, weight),
        validation_loss=log_loss(outcome, rates, weight),
        best_step=best_step,
        seconds=seconds,
        metrics=metrics,
        calibration=calibration_table(outcome, rates),
    )
    thresholds = ThresholdTable.from_win_rates(
        list(strong_win_rates.values()), source=f"{len(strong_win_rates)} prompts held out in training"
    )
    carded = router.with_card(thresholds=thresholds, provenance=report.card_provenance(), metrics=report.card_metrics())
    return carded, report
