"""From the battles of a pair to a router that is a fine-tuned transformer: what bert and causal_llm do alike."""

import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import ConfigurationError, MissingDependencyError
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.routers.transformers_router import TransformersRouter
from routellm_core.training.fine_tuning import FineTuned, FineTuningConfig
from routellm_core.training.held_out import BattleSplit, HeldOut, finish, pair_outcomes
from routellm_core.training.report import TrainingReport
from routellm_core.training.resume import battles_digest

Array = NDArray[np.float64]
RouterT = TypeVar("RouterT", bound=TransformersRouter)
ConfigT_contra = TypeVar("ConfigT_contra", bound=FineTuningConfig, contravariant=True)


@dataclass(frozen=True, eq=False)
class PairBattles:
    """The battles of one pair, from the strong model's side.

    Attributes:
        prompts: One for each battle, n.
        outcome: Shape (n,); 1 where strong wins, 0 where weak wins, 0.5 for a tie.
        weight: Shape (n,).
        prompt_index: Which prompt, shape (n,).
    """

    prompts: tuple[str, ...]
    outcome: Array
    weight: Array
    prompt_index: NDArray[np.int64]

    @classmethod
    def of(cls, dataset: PreferenceDataset, strong: str, weak: str) -> "PairBattles":
        """Take the battles between two models that weigh anything.

        Raises:
            ConfigurationError: If there are none.
        """
        s, w = (dataset.models.index(model) if model in dataset.models else -1 for model in (strong, weak))
        forth = (dataset.model_a == s) & (dataset.model_b == w)
        weight = np.ones(len(dataset)) if dataset.weight is None else dataset.weight
        rows = np.flatnonzero((forth | ((dataset.model_a == w) & (dataset.model_b == s))) & (weight > 0))
        if not len(rows):
            raise ConfigurationError(f"a part of the data has no battle between {strong!r} and {weak!r}")
        index = dataset.prompt_index[rows]
        return cls(
            prompts=tuple(dataset.prompts[i] for i in index),
            outcome=np.where(forth, dataset.outcome, 1.0 - dataset.outcome)[rows],
            weight=weight[rows],
            prompt_index=index,
        )

    def label_weights(self, *, balanced: bool) -> Array:
        """Return what each battle counts, shape (n,): its weight, or so that the three labels count the same in total."""
        if not balanced:
            return self.weight
        labels, index = np.unique(self.outcome, return_inverse=True)
        totals = np.bincount(index, self.weight)
        return np.asarray(self.weight * self.weight.sum() / (len(labels) * totals[index]))


class Fit(Protocol[ConfigT_contra]):
    """Fine-tunes a model and leaves it, with its tokenizer, in a folder."""

    def __call__(
        self,
        transformers: Any,
        base: str | os.PathLike[str],
        parts: Sequence[PairBattles],
        config: ConfigT_contra,
        *,
        folder: Path,
        key: Mapping[str, Any],
        begun: float,
    ) -> tuple[FineTuned, dict[str, Any]]:
        """Return how it went, and what else the router's constructor needs.

        Args:
            transformers: The module.
            base: The model to begin with.
            parts: The battles to learn from, and those to measure on.
            config: The settings.
            folder: Where the tuned model goes; the state of the run is kept beside it.
            key: What the run depends on.
            begun: When the run, or this part of it, began, by `time.perf_counter`.
        """
        ...


def train_on_pair(
    router_class: type[RouterT],
    dataset: PreferenceDataset,
    base: str | os.PathLike[str],
    config: ConfigT_contra,
    fit: Fit[ConfigT_contra],
    target: Callable[[Array], Array],
    *,
    validation: PreferenceDataset | None,
    state_folder: str | os.PathLike[str] | None,
) -> tuple[RouterT, TrainingReport]:
    """Fine-tune a model on the battles of a pair, and measure the router on those held out.

    Args:
        router_class: What the tuned model becomes.
        dataset: Battles.
        base: A folder or a Hub repository.
        config: The settings.
        fit: Fine-tunes.
        target: What the router's win rate stands for, of outcomes.
        validation: Battles to hold out; None draws them.
        state_folder: Where state and model are kept; None makes a temporary folder, which stays.

    Raises:
        MissingDependencyError: If the extra `train` is not installed.
        ConfigurationError: If the pair has no battles in a part, or the state belongs to another run.
    """
    name = router_class.name
    transformers = import_trainer(f"Training {name}")
    begun = time.perf_counter()
    split = BattleSplit.of(dataset, validation, config)
    training, held_out = (PairBattles.of(part, split.strong, split.weak) for part in (split.training, split.validation))
    folder = Path(tempfile.mkdtemp(prefix=f"routellm-{name}-") if state_folder is None else state_folder) / "fine-tuned"
    key = {
        "router": name,
        "model": os.fspath(base),
        **asdict(config),
        "battles": battles_digest(split.training),
        "validation": battles_digest(split.validation),
    }
    with quiet_transformers():
        tuned, options = fit(transformers, base, (training, held_out), config, folder=folder, key=key, begun=begun)
        router = router_class(
            folder,
            **options,
            max_length=config.max_length,
            device=config.device,
            reference_strong=split.strong,
            reference_weak=split.weak,
        )
    prompts = sorted(set(held_out.prompts))
    win_rates = dict(zip(prompts, router.strong_win_rates(prompts).tolist(), strict=True))
    return finish(
        router,
        pair_held_out(split, training, held_out, target),
        rates=np.array([win_rates[prompt] for prompt in held_out.prompts]),
        strong_win_rates=win_rates,
        counts=split.counts() | {"training battles of the pair": len(training.prompts)},
        config={**asdict(config), "model": os.fspath(base)},
        seed=config.seed,
        history=tuned.history,
        best_step=tuned.best_step,
        seconds=tuned.earlier + time.perf_counter() - begun,
    )


def pair_held_out(
    split: BattleSplit, training: PairBattles, validation: PairBattles, target: Callable[[Array], Array]
) -> HeldOut:
    """Return the validation battles of the pair with what the training ones say without their prompts.

    Args:
        split: Where they come from.
        training: The training battles of the pair.
        validation: The validation battles of the pair.
        target: What the router's win rate stands for, of outcomes.
    """
    mean, ties_half = (
        float(np.average(won, weights=training.weight)) for won in (target(training.outcome), training.outcome)
    )
    return HeldOut(
        outcome=target(validation.outcome),
        baseline=np.full(len(validation.outcome), mean),
        prompt_index=validation.prompt_index,
        weight=validation.weight,
        pair=pair_outcomes(split.validation, split.strong, split.weak),
        blind_rate=ties_half,
    )


def import_trainer(what: str) -> Any:
    """Return the module transformers, once everything that trains with it is known to be there.

    Raises:
        MissingDependencyError: If something is not installed.
    """
    try:
        import accelerate  # noqa: F401
        import torch  # noqa: F401
        import transformers
    except ImportError as error:
        raise MissingDependencyError.for_extra(what, "train") from error
    return transformers


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep the bars and reports of transformers away while the block runs: this library draws its own bar."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # peft calls transformers by a name that it is giving up, and says that it stores resized embeddings.
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            warnings.filterwarnings("ignore", message="Setting `save_embedding_layers` to `True`")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
