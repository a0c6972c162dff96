"""Train matrix factorisation on battles, with numpy: minutes on a CPU for 65,000 of them."""

import os
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from routellm_core.embedders.base import Embedder, as_matrix
from routellm_core.embedders.foreign import EmbedderLike, as_embedder
from routellm_core.errors import ConfigurationError
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.routers.base import sigmoid
from routellm_core.routers.matrix_factorization import MatrixFactorizationRouter
from routellm_core.training.descent import Descent, EmbeddedBattles
from routellm_core.training.factors import Factors
from routellm_core.training.held_out import BattleSplit, finish
from routellm_core.training.measures import prompt_blind_strengths
from routellm_core.training.report import TrainingReport
from routellm_core.training.resume import TrainingState, battles_digest

Recipe = Literal["default", "released", "paper"]
Ties = Literal["half", "drop"]
Start = Literal["bradley_terry", "random"]


@dataclass(frozen=True, kw_only=True)
class MatrixFactorizationConfig:
    """Settings of `train_matrix_factorization`; the defaults are this library's own recipe.

    Attributes:
        dim: The length of the models' embeddings: the rank of what can be learned. Much data bears a larger one.
        epochs: How many passes over the training part at most.
        batch_size: How many battles an update sees.
        learning_rate: Of Adam.
        weight_decay: Its L2 penalty.
        noise: Standard deviation of what is added to every number of a prompt's embedding while training.
        bias: Whether the prompt's projection has a bias, as in the paper.
        normalize_models: Whether models' embeddings are scaled to length 1, as in the released code.
        ties: "half" learns a tie as half a win, so that win rates count ties half; "drop" leaves ties out, of the losses of
            the history too. The other numbers of the report always count them half.
        start: "bradley_terry" starts at the ratings that know no prompt, so that what is learned is what the prompt adds;
            it needs a bias and no normalisation. "random" starts as torch does.
        patience: Stop after so many epochs without a lower validation loss; None never stops early. The weights are
            always those of the epoch with the lowest.
        validation_fraction: The share of the distinct prompts that is held out, in (0, 1).
        reference_strong: The strong model of the pair the router scores; None: see `reference_pair`.
        reference_weak: The weak one.
        seed: Of the split, the start, the order and the noise.

    Raises:
        ConfigurationError: If a setting is out of range.
    """

    dim: int = 8
    epochs: int = 100
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    noise: float = 0.0
    bias: bool = True
    normalize_models: bool = False
    ties: Ties = "half"
    start: Start = "bradley_terry"
    patience: int | None = 5
    validation_fraction: float = 0.1
    reference_strong: str | None = None
    reference_weak: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        whole = {"dim": self.dim, "epochs": self.epochs, "batch_size": self.batch_size, "patience": self.patience}
        for name, number in whole.items():
            if number is not None and (type(number) is not int or number < 1):
                raise ConfigurationError(f"{name} must be a whole number of 1 or more, not {number!r}")
        if type(self.seed) is not int or self.seed < 0:
            raise ConfigurationError(f"seed must be a whole number of 0 or more, not {self.seed!r}")
        if not 0 < self.learning_rate < np.inf:
            raise ConfigurationError(f"learning_rate must be above 0, such as 1e-3, not {self.learning_rate!r}")
        for name, size in (("weight_decay", self.weight_decay), ("noise", self.noise)):
            if not 0 <= size < np.inf:
                raise ConfigurationError(f"{name} must be 0 or more, not {size!r}")
        if self.ties not in get_args(Ties):
            raise ConfigurationError(f"ties must be one of {get_args(Ties)}, not {self.ties!r}")
        if self.start not in get_args(Start):
            raise ConfigurationError(f"start must be one of {get_args(Start)}, not {self.start!r}")
        if self.start == "bradley_terry" and (self.normalize_models or not self.bias):
            raise ConfigurationError("start='bradley_terry' needs bias=True and normalize_models=False")

    @classmethod
    def of_recipe(cls, recipe: Recipe, **changes: Any) -> Self:
        """Return the settings of a recipe.

        Args:
            recipe: "default"; "released", as in the code published with RouteLLM (no bias, models of length 1, noise, ties
                dropped, 100 epochs); or "paper", as in section 4.2 (a bias, about 10 epochs, no noise).
            **changes: Settings that differ from the recipe's.

        Raises:
            ConfigurationError: If there is no such recipe or setting.
        """
        if recipe not in _RECIPES:
            raise ConfigurationError(f"recipe must be one of {get_args(Recipe)}, not {recipe!r}")
        try:
            return cls(**{**_RECIPES[recipe], **changes})
        except TypeError as error:
            raise ConfigurationError(f"a recipe takes the settings of {cls.__name__} alone: {error}") from None


_PUBLISHED = {
    "dim": 128,
    "batch_size": 64,
    "learning_rate": 3e-4,
    "weight_decay": 1e-5,
    "start": "random",
    "patience": None,
    "validation_fraction": 0.05,
}
_RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "released": _PUBLISHED | {"epochs": 100, "noise": 0.1, "bias": False, "normalize_models": True, "ties": "drop"},
    "paper": _PUBLISHED | {"epochs": 10, "bias": True, "normalize_models": False},
}


def train_matrix_factorization(
    dataset: PreferenceDataset,
    embedder: EmbedderLike,
    config: MatrixFactorizationConfig | None = None,
    *,
    validation: PreferenceDataset | None = None,
    embeddings: NDArray[np.float32] | None = None,
    state_folder: str | os.PathLike[str] | None = None,
) -> tuple[MatrixFactorizationRouter, TrainingReport]:
    """Train matrix factorisation.

    The same battles, settings and seed give the same weights to the last bit, on one machine and number of threads, also when
    the run was killed and resumed. A battle enters once: with the models exchanged it has the same loss, so that neither
    their order nor an imbalance between the two sides matters.

    Args:
        dataset: Battles; their weights count.
        embedder: Embeds their prompts: an embedder, or an embedding object of LangChain or LlamaIndex.
        config: The settings; None takes the defaults.
        validation: Battles to hold out, on other prompts; None draws them from `dataset`.
        embeddings: The vectors of `dataset.prompts`, shape (u, dimension), with `validation.prompts` after them if those are
            given; None embeds them.
        state_folder: Where the state of the run is kept after each epoch, and from where it goes on; None keeps none.

    Raises:
        ConfigurationError: If there is nothing to learn from, or the state belongs to another run.
        UnknownModelError: If a model of the pair has no battle.
    """
    config = config or MatrixFactorizationConfig()
    chosen = as_embedder(embedder)
    begun = time.perf_counter()
    split = BattleSplit.of(dataset, validation, config)
    prompts = dataset.prompts if validation is None else (*dataset.prompts, *validation.prompts)
    vectors = as_matrix(
        chosen.embed(prompts) if embeddings is None else embeddings,
        n=len(prompts),
        dimension=chosen.dimension,
        embedder_id=chosen.id,
    )
    row_of = {prompt: row for row, prompt in enumerate(prompts)}
    training, held_out = (
        EmbeddedBattles.of(part, split.models, vectors, row_of) for part in (split.training, split.validation)
    )
    learned, measured = training, held_out
    if config.ties == "drop":
        learned, measured = (part.select(part.outcome != 0.5) for part in (training, held_out))
    if not len(learned) or not len(measured):
        raise ConfigurationError("every battle of a part is a tie, and ties='drop': there is nothing to learn from")
    descent = Descent(_start(split, vectors.shape[1], config), learned, measured, config)
    state = None if state_folder is None else TrainingState(state_folder, _key(dataset, validation, chosen.id, config))
    descent.run(state, begun=begun)
    router = _router(descent.factors, split, chosen, config)
    prompts_held_out = vectors[[row_of[prompt] for prompt in split.validation.prompts]]
    qualities = router.model_qualities_from_embeddings(prompts_held_out)[split.validation.prompt_index]
    each = np.arange(len(held_out))
    win_rates = router.strong_win_rates_from_embeddings(prompts_held_out)
    return finish(
        router,
        split.held_out(),
        rates=sigmoid(qualities[each, held_out.a] - qualities[each, held_out.b]),
        strong_win_rates=dict(zip(split.validation.prompts, win_rates.tolist(), strict=True)),
        counts=split.counts(),
        config=asdict(config),
        seed=config.seed,
        history=descent.history,
        best_step=descent.best_step,
        seconds=descent.seconds,
    )


def _start(split: BattleSplit, text_dim: int, config: MatrixFactorizationConfig) -> Factors:
    factors = Factors(
        len(split.models), text_dim, config.dim, bias=config.bias, normalize_models=config.normalize_models
    )
    generator = np.random.default_rng(config.seed)
    if config.start == "random":
        factors.start_at_random(generator)
    else:
        factors.start_at_ratings(prompt_blind_strengths(split.training, split.models), generator)
    return factors


def _key(
    dataset: PreferenceDataset,
    validation: PreferenceDataset | None,
    embedder_id: str,
    config: MatrixFactorizationConfig,
) -> dict[str, Any]:
    """Return what a run depends on."""
    return {
        "router": "mf",
        **asdict(config),
        "embedder": embedder_id,
        "battles": battles_digest(dataset),
        "validation": None if validation is None else battles_digest(validation),
    }


def _router(
    factors: Factors, split: BattleSplit, embedder: Embedder, config: MatrixFactorizationConfig
) -> MatrixFactorizationRouter:
    arrays = factors.arrays
    return MatrixFactorizationRouter(
        arrays["model_embeddings"],
        arrays["output_weights"],
        models=split.models,
        reference_strong=split.strong,
        reference_weak=split.weak,
        embedder=embedder,
        text_projection=arrays["text_projection"],
        bias=arrays.get("bias"),
        normalize_models=config.normalize_models,
    )
