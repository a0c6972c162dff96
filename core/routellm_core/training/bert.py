"""Fine-tune an encoder with a classification head on battles (RouteLLM, arXiv 2406.18665, section 4.2)."""

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import ConfigurationError
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.routers.bert import BertRouter, Head
from routellm_core.routers.transformers_backend import longest_input
from routellm_core.training.fine_tuning import (
    Example,
    FineTuned,
    FineTuningConfig,
    PairBattles,
    fine_tune,
    import_trainer,
    pair_held_out,
    quiet_transformers,
    run_key,
)
from routellm_core.training.held_out import BattleSplit, finish
from routellm_core.training.report import TrainingReport

MODEL_FOLDER = "fine-tuned"


@dataclass(frozen=True, kw_only=True)
class BertConfig(FineTuningConfig):
    """Settings of `train_bert`; the defaults are the paper's.

    Attributes:
        head: "3way" learns strong wins, tie and weak wins; the win rate is the probability of the first, so a tie says that the
            weak model is good enough. "sigmoid" learns one probability, in which a tie counts half.
    """

    head: Head = "3way"

    def __post_init__(self) -> None:
        FineTuningConfig.__post_init__(self)
        if self.head not in get_args(Head):
            raise ConfigurationError(f"head must be one of {get_args(Head)}, not {self.head!r}")


def train_bert(
    dataset: PreferenceDataset,
    encoder: str | os.PathLike[str],
    config: BertConfig | None = None,
    *,
    validation: PreferenceDataset | None = None,
    state_folder: str | os.PathLike[str] | None = None,
) -> tuple[BertRouter, TrainingReport]:
    """Fine-tune an encoder on the battles of a pair.

    A run that was killed goes on from its last measurement. The same seed gives the same router on one machine up to the rounding
    of torch's parallel sums.

    Args:
        dataset: Battles; those of the reference pair are learned, and their weights count.
        encoder: A folder or a Hub repository with any encoder of transformers.
        config: The settings; None takes the defaults.
        validation: Battles to hold out, on other prompts; None draws them from `dataset`.
        state_folder: Where the state of the run and the fine-tuned model are kept. The router reads the model there until it is
            stored elsewhere. None makes a temporary folder, which stays.

    Raises:
        MissingDependencyError: If the extra `train` is not installed.
        ConfigurationError: If the pair has no battles in a part, or the state belongs to another run.
    """
    transformers = import_trainer("Training bert")
    config = config or BertConfig()
    begun = time.perf_counter()
    split = BattleSplit.of(
        dataset,
        validation,
        validation_fraction=config.validation_fraction,
        seed=config.seed,
        strong=config.reference_strong,
        weak=config.reference_weak,
    )
    parts = [PairBattles.of(part, split.strong, split.weak) for part in (split.training, split.validation)]
    work = Path(tempfile.mkdtemp(prefix="routellm-bert-") if state_folder is None else state_folder)
    with quiet_transformers():
        tuned = _fit(
            transformers,
            encoder,
            parts,
            config,
            work,
            run_key("bert", encoder, config, split.training, split.validation),
        )
        router = BertRouter(
            work / MODEL_FOLDER,
            head=config.head,
            max_length=config.max_length,
            device=config.device,
            reference_strong=split.strong,
            reference_weak=split.weak,
        )
    held_out = pair_held_out(split, parts[0], parts[1], _won if config.head == "3way" else _shared)
    prompts = sorted(set(parts[1].prompts))
    win_rates = dict(zip(prompts, router.strong_win_rates(prompts).tolist(), strict=True))
    return finish(
        router,
        held_out,
        rates=np.array([win_rates[prompt] for prompt in parts[1].prompts]),
        strong_win_rates=win_rates,
        counts=split.counts() | {"training battles of the pair": len(parts[0].prompts)},
        config={**asdict(config), "encoder": os.fspath(encoder)},
        seed=config.seed,
        history=tuned.history,
        best_step=tuned.best_step,
        seconds=time.perf_counter() - begun,
    )


def _fit(
    transformers: Any,
    encoder: str | os.PathLike[str],
    parts: Sequence[PairBattles],
    config: BertConfig,
    work: Path,
    key: Mapping[str, Any],
) -> FineTuned:
    """Fine-tune and leave model and tokenizer in the folder of the work."""
    transformers.set_seed(config.seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder, trust_remote_code=False)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        encoder, num_labels=3 if config.head == "3way" else 1, trust_remote_code=False, use_safetensors=True
    )
    longest = longest_input(model, tokenizer, config.max_length)
    training, validation = (_examples(part, tokenizer, longest, config) for part in parts)
    tuned = fine_tune(
        model,
        (training, validation),
        _three_way_losses if config.head == "3way" else _sigmoid_losses,
        config,
        pad_id=tokenizer.pad_token_id or 0,
        pad_left=False,
        last_only=False,
        work=work,
        key=key,
    )
    model.save_pretrained(work / MODEL_FOLDER)
    tokenizer.save_pretrained(work / MODEL_FOLDER)
    return tuned


def _won(outcome: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 where strong wins; a tie is no win."""
    return np.asarray(outcome == 1.0, np.float64)


def _shared(outcome: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the outcome; a tie is half a win."""
    return outcome


def _examples(battles: PairBattles, tokenizer: Any, longest: int, config: BertConfig) -> list[Example]:
    rows = tokenizer(list(battles.prompts), truncation=True, max_length=longest)["input_ids"]
    # Labels in the order of the router: strong wins, tie, weak wins.
    targets = 2.0 - 2.0 * battles.outcome if config.head == "3way" else battles.outcome
    weights = battles.label_weights(balanced=config.balanced)
    return [
        Example(row, target, weight)
        for row, target, weight in zip(rows, targets.tolist(), weights.tolist(), strict=True)
    ]


def _three_way_losses(logits: Any, target: Any) -> Any:
    from torch.nn import functional

    return functional.cross_entropy(logits, target.long(), reduction="none")


def _sigmoid_losses(logits: Any, target: Any) -> Any:
    from torch.nn import functional

    return functional.binary_cross_entropy_with_logits(logits[:, 0], target.to(logits.dtype), reduction="none")
