"""Train the default router: for each form of prompt two logistic regressions on statistics, embedding and tokens."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_core.embedders.base import Embedder
from routellm_core.embedders.foreign import EmbedderLike, as_embedder
from routellm_core.errors import ConfigurationError
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.preferences.normalise import normalise_text
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.routers.base import sigmoid
from routellm_core.routers.default import CorrectnessHeads, DefaultRouter, default_vectors, scaled_statistics
from routellm_core.routers.prompt_features import STATISTICS, prompt_statistics
from routellm_core.routers.prompt_ngrams import SparseRows, inverse_frequencies, ngrams, weighted
from routellm_core.routers.prompt_reading import FORMS, read
from routellm_core.training.held_out import HeldOut, finish, pair_outcomes, reference_pair
from routellm_core.training.logistic import Design, fit_logistic
from routellm_core.training.measures import log_loss
from routellm_core.training.report import LossPoint, TrainingReport

Array = NDArray[np.float64]

JOIN = " and "
"""Between the names of several models that are learned as one."""

STATISTICS_SCALE = 0.2
"""How far a standard deviation of a statistic is spread, beside token vectors of length 1, while fitting."""

EMBEDDING_SCALE = 0.7
"""The same for an embedding of length 1."""

_FOLDS = 5
_ALL = "all"
_LEAST_SPREAD = 1e-6


@dataclass(frozen=True, kw_only=True)
class DefaultConfig:
    """Settings of `train_default`.

    Attributes:
        strengths: Inverse regularisations to choose from, by log loss in five folds of the training prompts; above 0.
        strong: The strong models, whose mean score is learned; None takes the better of the two, or settles it as
            `reference_pair` does for battles. Of a table with more models than two, say which.
        weak: The weak ones.
        validation_fraction: The share of the distinct prompts that is held out, in (0, 1).
        min_prompts: How many training prompts of a form there must be for heads of its own; prompts of other forms are read
            by heads that all prompts are trained on.
        seed: Of the split and the folds.
    """

    strengths: Sequence[float] = (0.3, 1.0, 3.0, 10.0)
    strong: Sequence[str] | None = None
    weak: Sequence[str] | None = None
    validation_fraction: float = 0.1
    min_prompts: int = 1000
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
    (strong, weak), training, held_out = split_sides(data, validation, config)
    fitted, forms, frequencies = _fit_forms(training, chosen, config)
    router = DefaultRouter(
        {name: part.heads for name, part in fitted.items()},
        forms,
        frequencies,
        embedder=chosen,
        reference_strong=JOIN.join(strong),
        reference_weak=JOIN.join(weak),
    )
    losses = fitted[_ALL].losses
    win_rates = router.strong_win_rates(held_out.prompts)
    outcome, blind_rate = _shares(held_out), float(_shares(training).mean())
    history = [LossPoint(step=i, epoch=0, training=None, validation=loss) for i, loss in enumerate(losses)]
    position = {prompt: i for i, prompt in enumerate(dict.fromkeys(held_out.prompts))}
    return finish(
        router,
        HeldOut(
            outcome=outcome,
            baseline=np.full(len(outcome), blind_rate),
            prompt_index=np.array([position[prompt] for prompt in held_out.prompts]),
            weight=None,
            pair=held_out,
            blind_rate=blind_rate,
        ),
        rates=win_rates,
        strong_win_rates=dict(zip(held_out.prompts, win_rates.tolist(), strict=True)),
        counts={"training prompts": len(training), "validation prompts": len(held_out)},
        config=asdict(config) | {"strength": {name: part.strength for name, part in fitted.items()}},
        seed=config.seed,
        history=history,
        best_step=int(np.argmin(losses)),
        seconds=time.perf_counter() - begun,
    )


def split_sides(
    data: OutcomeTable | PreferenceDataset, validation: OutcomeTable | PreferenceDataset | None, config: DefaultConfig
) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], OutcomeTable, OutcomeTable]:
    """Return which models are strong and which are weak, and the scores of the two sides to learn and to measure on.

    Args:
        data: Outcomes or battles.
        validation: What to hold out; None draws it from `data`.
        config: The settings.

    Raises:
        ConfigurationError: If there is nothing to learn from or to measure on, or a score is not in [0, 1].
        UnknownModelError: If a model is not in the data.
    """
    strong, weak = _sides(data, config)
    rows = pair_scores(data, strong, weak)
    if validation is None:
        training, held_out = split_outcomes(rows, fraction=config.validation_fraction, seed=config.seed)
    else:
        training, held_out = rows, pair_scores(validation, strong, weak)
    return (strong, weak), training, held_out


def _fit_forms(
    training: OutcomeTable, embedder: Embedder, config: DefaultConfig
) -> "tuple[dict[str, FittedHeads], dict[str, str], Array]":
    """Fit heads on all prompts, and on the prompts of each form that has enough of them."""
    features = DefaultFeatures.of(training.prompts, embedder)
    frequencies = inverse_frequencies(features.counts)
    keys = np.array([normalise_text(prompt) for prompt in training.prompts], dtype=object)
    scores = training.scores[:, ::-1]
    of = {form: features.form == form for form in FORMS}
    own = [form for form in FORMS if config.min_prompts <= int(of[form].sum()) < len(scores)]
    fitted = {
        name: fit_heads(
            features.rows(rows),
            frequencies,
            scores[rows],
            list(keys[rows]),
            strengths=config.strengths,
            seed=config.seed,
        )
        for name, rows in {_ALL: np.ones(len(scores), np.bool_), **{form: of[form] for form in own}}.items()
    }
    return fitted, {form: form if form in own else _ALL for form in FORMS}, frequencies


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
class DefaultFeatures:
    """What the heads of the default router may read of n prompts.

    Attributes:
        form: The form of each, shape (n,).
        statistics: Shape (n, number of statistics).
        embedding: Shape (n, d).
        counts: Their hashed tokens, not yet weighted.
    """

    form: NDArray[np.str_]
    statistics: Array
    embedding: Array
    counts: SparseRows

    @classmethod
    def of(cls, prompts: Sequence[str], embedder: Embedder) -> "DefaultFeatures":
        """Read n prompts."""
        readings = [read(prompt) for prompt in prompts]
        texts = [reading.text for reading in readings]
        forms = np.array([reading.form for reading in readings], dtype=np.str_)
        return cls(forms, prompt_statistics(readings), default_vectors(embedder, texts), ngrams(texts))

    def rows(self, kept: NDArray[np.bool_]) -> "DefaultFeatures":
        """Return the prompts that are kept."""
        return DefaultFeatures(self.form[kept], self.statistics[kept], self.embedding[kept], self.counts.rows(kept))


@dataclass(frozen=True)
class HeadParts:
    """What heads read.

    Attributes:
        statistics: The names of those that are read; None reads all.
        embedding: Whether they read the embedding.
        tokens: Whether they read the hashed tokens.
    """

    statistics: Sequence[str] | None = None
    embedding: bool = True
    tokens: bool = True


@dataclass(frozen=True, eq=False)
class FittedHeads:
    """Heads, and how they were chosen.

    Attributes:
        heads: The heads.
        strength: The inverse regularisation that was chosen.
        losses: The cross-validated log loss of each that was tried.
    """

    heads: CorrectnessHeads
    strength: float
    losses: tuple[float, ...]


def fit_heads(
    features: DefaultFeatures,
    frequencies: Array,
    scores: Array,
    keys: Sequence[str],
    *,
    strengths: Sequence[float],
    parts: HeadParts | None = None,
    levels: Array | None = None,
    weight: Array | None = None,
    seed: int = 0,
) -> FittedHeads:
    """Fit the two heads of one form of prompts.

    Args:
        features: What is read of n prompts.
        frequencies: The weights of the hashed tokens; see `inverse_frequencies`.
        scores: What is learned, weak first, in [0, 1], shape (n, 2).
        keys: One for each row; rows with equal keys are always in the same fold.
        strengths: Inverse regularisations, of which the one with the lowest log loss in five folds is taken; one alone is
            taken as it is.
        parts: What they read; None reads all.
        levels: Further columns that are fitted and then replaced by their mean, shape (n, l), such as the source of each row;
            None for none.
        weight: Of each row, shape (n,); None weighs all alike.
        seed: Of the folds.
    """
    parts = parts or HeadParts()
    extra = np.zeros((len(scores), 0)) if levels is None else levels
    center = features.statistics.mean(axis=0)
    spread = features.statistics.std(axis=0)
    # A statistic that hardly varies here says nothing here.
    says = spread > _LEAST_SPREAD
    scale = np.where(says, spread, 1.0)
    used = says & [parts.statistics is None or name in parts.statistics for name in STATISTICS]
    statistics = STATISTICS_SCALE * scaled_statistics(features.statistics, center, scale) * used
    columns = [statistics, EMBEDDING_SCALE * features.embedding] if parts.embedding else [statistics]
    design = Design(
        np.column_stack([*columns, extra]), weighted(features.counts, frequencies) if parts.tokens else None
    )
    losses = _losses(design, scores, keys, strengths, weight, seed) if len(strengths) > 1 else (float("nan"),)
    best = strengths[int(np.argmin(losses))] if len(strengths) > 1 else strengths[0]
    fitted = [fit_logistic(design, scores[:, side], best, weight) for side in range(2)]
    weights = np.stack([theta for theta, _ in fitted])
    n_statistics, dimension = len(STATISTICS), features.embedding.shape[1] if parts.embedding else 0
    of_statistics, of_embedding, of_levels, of_tokens = np.split(
        weights, np.cumsum([n_statistics, dimension, extra.shape[1]]), axis=1
    )
    intercepts = np.array([intercept for _, intercept in fitted]) + of_levels @ extra.mean(axis=0)
    heads = CorrectnessHeads(
        intercepts=intercepts,
        statistics=of_statistics * STATISTICS_SCALE,
        center=center,
        scale=scale,
        embedding=of_embedding * EMBEDDING_SCALE if parts.embedding else None,
        tokens=of_tokens if parts.tokens else None,
    )
    return FittedHeads(heads, float(best), tuple(losses))


def _losses(
    design: Design,
    scores: Array,
    keys: Sequence[str],
    strengths: Sequence[float],
    weight: Array | None,
    seed: int,
) -> tuple[float, ...]:
    """Return the mean log loss of both heads in five folds, for each strength."""
    fold = _folds(keys, _FOLDS, seed)
    losses = []
    for strength in strengths:
        predicted = np.empty_like(scores)
        for k in np.unique(fold):
            train, test = fold != k, fold == k
            part, rest = design.rows(train), design.rows(test)
            for side in range(2):
                theta, intercept = fit_logistic(
                    part, scores[train, side], strength, None if weight is None else weight[train]
                )
                predicted[test, side] = sigmoid(rest.times(theta) + intercept)
        losses.append(float(np.mean([log_loss(scores[:, side], predicted[:, side]) for side in range(2)])))
    return tuple(losses)
