"""Train the default router: two logistic regressions on an embedding and the prompt's length, by Newton's method."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_core.embedders.foreign import EmbedderLike, as_embedder
from routellm_core.errors import ConfigurationError
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.preferences.normalise import normalise_text
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.routers.base import sigmoid
from routellm_core.routers.default import DefaultRouter, default_features
from routellm_core.training.held_out import HeldOut, finish, pair_outcomes, reference_pair
from routellm_core.training.measures import log_loss
from routellm_core.training.report import LossPoint, TrainingReport

Array = NDArray[np.float64]

JOIN = " and "
"""Between the names of several models that are learned as one."""

_FOLDS = 5
_ITERATIONS = 100
_TOLERANCE = 1e-10


@dataclass(frozen=True, kw_only=True)
class DefaultConfig:
    """Settings of `train_default`.

    Attributes:
        strengths: Inverse regularisations to choose from, by log loss in five folds of the training prompts; above 0.
        strong: The strong models, whose mean score is learned; None takes the better of the two, or settles it as
            `reference_pair` does for battles. Of a table with more models than two, say which.
        weak: The weak ones.
        validation_fraction: The share of the distinct prompts that is held out, in (0, 1).
        seed: Of the split and the folds.
    """

    strengths: Sequence[float] = (0.03, 0.1, 0.3, 1.0, 3.0)
    strong: Sequence[str] | None = None
    weak: Sequence[str] | None = None
    validation_fraction: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.strengths or not all(0 < strength < np.inf for strength in self.strengths):
            raise ConfigurationError(f"strengths must be one or more numbers above 0, not {self.strengths!r}")
        if not 0 < self.validation_fraction < 1:
            raise ConfigurationError(f"validation_fraction must be in (0, 1), not {self.validation_fraction!r}")


def train_default(
    data: OutcomeTable | PreferenceDataset,
    embedder: EmbedderLike,
    config: DefaultConfig | None = None,
    *,
    validation: OutcomeTable | PreferenceDataset | None = None,
) -> tuple[DefaultRouter, TrainingReport]:
    """Train the router that comes with the package on outcomes of your own.

    Battles of the pair are read as outcomes: the winner scored 1, the loser 0, and in a tie both a half.

    Args:
        data: Outcomes with scores in [0, 1], or battles.
        embedder: Embeds the prompts: an embedder, or an embedding object of LangChain or LlamaIndex.
        config: The settings; None takes the defaults.
        validation: What to hold out, on other prompts; None draws it from `data`.

    Raises:
        ConfigurationError: If there is nothing to learn from, or a score is not in [0, 1].
        UnknownModelError: If a model is not in the data.
    """
    config = config or DefaultConfig()
    chosen, begun = as_embedder(embedder), time.perf_counter()
    strong, weak = _sides(data, config)
    rows = pair_scores(data, strong, weak)
    if validation is None:
        training, held_out = split_outcomes(rows, fraction=config.validation_fraction, seed=config.seed)
    else:
        training, held_out = rows, pair_scores(validation, strong, weak)
    features = default_features(chosen, training.prompts).astype(np.float64)
    keys = [normalise_text(prompt) for prompt in training.prompts]
    heads = fit_heads(features, training.scores[:, ::-1], keys, strengths=config.strengths, seed=config.seed)
    router = DefaultRouter(
        heads.weights,
        heads.intercepts,
        embedder=chosen,
        reference_strong=JOIN.join(strong),
        reference_weak=JOIN.join(weak),
    )
    win_rates = router.strong_win_rates(held_out.prompts)
    outcome = _shares(held_out)
    history = [LossPoint(step=i, epoch=0, training=None, validation=loss) for i, loss in enumerate(heads.losses)]
    _, prompt_index = np.unique(np.array(held_out.prompts, dtype=object), return_inverse=True)
    return finish(
        router,
        HeldOut(
            outcome=outcome,
            baseline=np.full(len(outcome), _shares(training).mean()),
            prompt_index=prompt_index.astype(np.int64),
            weight=None,
            pair=held_out,
        ),
        rates=win_rates,
        strong_win_rates=dict(zip(held_out.prompts, win_rates.tolist(), strict=True)),
        counts={"training prompts": len(training), "validation prompts": len(held_out)},
        config=asdict(config) | {"strength": heads.strength},
        seed=config.seed,
        history=history,
        best_step=int(np.argmin(heads.losses)),
        seconds=time.perf_counter() - begun,
    )


def _sides(data: OutcomeTable | PreferenceDataset, config: DefaultConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Settle which models are strong and which are weak."""
    strong = None if config.strong is None else tuple(config.strong)
    weak = None if config.weak is None else tuple(config.weak)
    if isinstance(data, PreferenceDataset):
        if any(side is not None and len(side) != 1 for side in (strong, weak)):
            raise ConfigurationError("battles are learned for one strong and one weak model: name one of each")
        one, other = reference_pair(data, strong[0] if strong else None, weak[0] if weak else None)
        return (one,), (other,)
    if strong is None and weak is None and len(data.models) == 2:
        better = int(np.argmax(np.nanmean(data.scores, axis=0)))
        strong, weak = (data.models[better],), (data.models[1 - better],)
    if not strong or not weak:
        raise ConfigurationError(
            f"table {data.name!r} has {len(data.models)} models: say which are strong and which are weak; it has "
            f"{', '.join(data.models)}"
        )
    if both := sorted(set(strong) & set(weak)):
        raise ConfigurationError(f"models cannot be strong and weak at once: {', '.join(both)}")
    return strong, weak


def pair_scores(data: OutcomeTable | PreferenceDataset, strong: Sequence[str], weak: Sequence[str]) -> OutcomeTable:
    """Return the mean scores of the strong and of the weak models, prompts without a score left out.

    Raises:
        ConfigurationError: If no prompt is left, or a score is not in [0, 1].
        UnknownModelError: If a model is not in the data.
    """
    if isinstance(data, PreferenceDataset):
        table = pair_outcomes(data, strong[0], weak[0])
        if table is None:
            raise ConfigurationError(f"there is no battle between {strong[0]!r} and {weak[0]!r}")
        return table
    complete = data.complete([*strong, *weak])
    sides = [complete.for_models(side).scores.mean(axis=1) for side in (strong, weak)]
    scores = np.stack(sides, axis=1)
    if not len(complete):
        raise ConfigurationError(f"table {data.name!r} has no row in which {', '.join((*strong, *weak))} have a score")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ConfigurationError(
            f"table {data.name!r}: scores go from {scores.min():g} to {scores.max():g}: scale them to [0, 1]"
        )
    return OutcomeTable(
        prompts=complete.prompts, models=(JOIN.join(strong), JOIN.join(weak)), scores=scores, name="held out"
    )


def _shares(table: OutcomeTable) -> Array:
    """Return what the strong side won, a tie counted half; shape (n,)."""
    return np.asarray((1.0 + table.scores[:, 0] - table.scores[:, 1]) / 2.0)


def split_outcomes(table: OutcomeTable, *, fraction: float, seed: int) -> tuple[OutcomeTable, OutcomeTable]:
    """Return training and validation rows; prompts that are equal after `normalise_text` are never on both sides.

    Args:
        table: Outcomes.
        fraction: The share of the distinct prompts that goes to validation, in (0, 1).
        seed: Another seed, another split.

    Raises:
        ConfigurationError: If there are too few prompts.
    """
    keys = [normalise_text(prompt) for prompt in table.prompts]
    distinct = len(set(keys))
    if distinct < 2:
        raise ConfigurationError(f"{distinct} distinct prompts are too few to hold a part out")
    held_out = _folds(keys, distinct, seed) < min(max(round(distinct * fraction), 1), distinct - 1)
    return table.select(~held_out), table.select(held_out)


def _folds(keys: Sequence[str], n_folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of every key, shape (n,); equal keys are in one fold, and folds differ by at most one distinct key."""
    _, index = np.unique(np.array(keys, dtype=object), return_inverse=True)
    n = int(index.max()) + 1
    fold = np.empty(n, np.int64)
    fold[np.random.default_rng(seed).permutation(n)] = np.arange(n) * n_folds // n
    return fold[index]


@dataclass(frozen=True, eq=False)
class Heads:
    """Two logistic regressions.

    Attributes:
        weights: Shape (2, f).
        intercepts: Shape (2,).
        strength: The inverse regularisation that was chosen.
        losses: The cross-validated log loss of each that was tried.
    """

    weights: Array
    intercepts: Array
    strength: float
    losses: tuple[float, ...]


def fit_heads(
    features: Array,
    scores: Array,
    keys: Sequence[str],
    *,
    strengths: Sequence[float],
    levels: Array | None = None,
    seed: int = 0,
) -> Heads:
    """Fit the two heads of the default router.

    Args:
        features: What `default_features` returned, shape (n, f).
        scores: What is learned, in [0, 1], shape (n, 2).
        keys: One for each row; rows with equal keys are always in the same fold.
        strengths: Inverse regularisations, of which the one with the lowest log loss in five folds is taken.
        levels: Further columns that are fitted and then replaced by their mean, shape (n, l), such as the source of each row;
            None for none.
        seed: Of the folds.
    """
    dimension = features.shape[1] - 1
    # The length is brought to the scale of an embedding's coordinates while fitting, so that one penalty suits both.
    scale, shift = np.ones(features.shape[1]), np.zeros(features.shape[1])
    spread = float(features[:, -1].std())
    scale[-1] = (spread if spread > 0 else 1.0) * np.sqrt(dimension)
    shift[-1] = features[:, -1].mean()
    columns = (features - shift) / scale
    extra = np.zeros((len(features), 0)) if levels is None else levels
    columns = np.column_stack([columns, extra])
    fold = _folds(keys, _FOLDS, seed)
    losses = []
    for strength in strengths:
        parts = []
        for side in range(scores.shape[1]):
            predicted = np.empty(len(columns))
            for k in np.unique(fold):
                test = fold == k
                weights, intercept = fit_logistic(columns[~test], scores[~test, side], strength)
                predicted[test] = sigmoid(columns[test] @ weights + intercept)
            parts.append(log_loss(scores[:, side], predicted))
        losses.append(float(np.mean(parts)))
    best = strengths[int(np.argmin(losses))]
    fitted = [fit_logistic(columns, scores[:, side], best) for side in range(scores.shape[1])]
    rows, intercepts = [], []
    for weights, intercept in fitted:
        own, of_levels = np.split(weights, [features.shape[1]])
        rows.append(own / scale)
        intercepts.append(float(intercept + of_levels @ extra.mean(axis=0) - own @ (shift / scale)))
    return Heads(np.array(rows), np.array(intercepts), float(best), tuple(losses))


def fit_logistic(features: Array, target: Array, strength: float) -> tuple[Array, float]:
    """Fit a logistic regression to targets in [0, 1] by Newton's method.

    Args:
        features: Shape (n, f).
        target: Shape (n,).
        strength: Inverse regularisation: half the squared norm of the weights is divided by it; the intercept is free.

    Returns:
        The weights, shape (f,), and the intercept.
    """
    columns = np.column_stack([features, np.ones(len(features))])
    penalty = np.full(columns.shape[1], 1.0 / strength)
    penalty[-1] = 1e-9  # finite where all targets are 1
    theta = np.zeros(columns.shape[1])
    loss = np.inf
    for _ in range(_ITERATIONS):
        rate = sigmoid(columns @ theta)
        gradient = columns.T @ (rate - target) + penalty * theta
        curvature = (columns * (rate * (1.0 - rate))[:, None]).T @ columns
        curvature[np.diag_indices_from(curvature)] += penalty
        step = np.linalg.solve(curvature, gradient)
        for _ in range(_ITERATIONS):  # a full step from far away can overshoot
            moved = theta - step
            logits = columns @ moved
            after = float((np.logaddexp(0.0, logits) - target * logits).sum() + 0.5 * (penalty * moved**2).sum())
            if after <= loss + 1e-12 * (1.0 + abs(loss)):
                break
            step = step / 2.0
        theta, loss = moved, after
        if np.abs(step).max() <= _TOLERANCE * (1.0 + np.abs(theta).max()):
            break
    return theta[:-1], float(theta[-1])
