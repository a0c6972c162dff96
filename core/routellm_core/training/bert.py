"""Fine-tune an encoder with a classification head on battles (RouteLLM, arXiv 2406.18665, section 4.2)."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import ConfigurationError
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.routers.bert import BertRouter, Head
from routellm_core.routers.transformers_backend import longest_input
from routellm_core.training.fine_tuning import Example, FineTuned, FineTuningConfig, fine_tune
from routellm_core.training.pair_router import PairBattles, train_on_pair
from routellm_core.training.report import TrainingReport


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
    config = config or BertConfig()
    target = _won if config.head == "3way" else _shared
    return train_on_pair(
        BertRouter, dataset, encoder, config, _fit, target, validation=validation, state_folder=state_folder
    )


def _fit(
    transformers: Any,
    base: str | os.PathLike[str],
    parts: Sequence[PairBattles],
    config: BertConfig,
    *,
    folder: Path,
    key: Mapping[str, Any],
    begun: float,
) -> tuple[FineTuned, dict[str, Any]]:
    transformers.set_seed(config.seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=3 if config.head == "3way" else 1, trust_remote_code=False, use_safetensors=True
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
        work=folder.parent,
        key=key,
        begun=begun,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tuned, {"head": config.head}


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
