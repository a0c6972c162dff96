"""A sequence classifier of transformers as a router (RouteLLM, arXiv 2406.18665, section 4.2)."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from routellm_core.calibration import ThresholdTable
from routellm_core.checkpoints.model_folder import ModelFolder
from routellm_core.checkpoints.published import BERT_REPO
from routellm_core.errors import ConfigurationError
from routellm_core.routers.base import sigmoid
from routellm_core.routers.transformers_backend import Dtype, batches_of_like_length
from routellm_core.routers.transformers_router import TransformersRouter
from routellm_core.texts import require_list

Head = Literal["3way", "sigmoid"]


class BertRouter(TransformersRouter):
    """Reads the strong win rate off a classifier that was fine-tuned on preferences.

    Prompts of like length are scored together. Padding and the size of a batch change the rounding of the model's numbers, in
    float32 by less than 1e-6 of the win rate.

    Args:
        model: A folder with any sequence classifier of transformers: config.json, safetensors and tokenizer.
        head: "3way" takes labels (strong wins, tie, weak wins) in this order, and the win rate is the probability of the first:
            a tie says that the weak model is good enough. "sigmoid" takes one label, whose logit is that of the win rate.
        max_length: How many tokens are read, those that the tokenizer adds included; the rest of a longer prompt is not. Never
            more than the model or its tokenizer takes.
        device: Where the model runs, as torch calls it ("cuda:1"); None takes CUDA where there is one, else the CPU.
        dtype: The number type of the model; None takes the stored one.
        tokenizer: A folder with the tokenizer of a model that comes without; None takes that of `model`. To be stored, a router
            needs it in the folder of the model.
        reference_strong: The strong model it was trained on.
        reference_weak: The weak one.
        thresholds: Calibrated thresholds; None if there are none.
        provenance: What it was trained on, for the model card.
        metrics: How well it does, for the model card.

    Raises:
        MissingDependencyError: If the extra `torch` is not installed.
        ConfigurationError: If an argument is not what it should be, or the head does not fit the model.
        CheckpointError: If the folder does not hold such a model.

    Example:
        >>> BertRouter("my-classifier", head="sigmoid").strong_win_rate("Hi!")  # doctest: +SKIP
    """

    name = "bert"
    auto_class = "AutoModelForSequenceClassification"
    published_repo = BERT_REPO

    def __init__(
        self,
        model: str | os.PathLike[str] | ModelFolder,
        *,
        head: Head = "3way",
        max_length: int = 512,
        device: str | None = None,
        dtype: Dtype | None = None,
        tokenizer: str | os.PathLike[str] | None = None,
        reference_strong: str = "strong",
        reference_weak: str = "weak",
        thresholds: ThresholdTable | None = None,
        provenance: dict[str, Any] | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> None:
        if head not in get_args(Head):
            raise ConfigurationError(f"head must be one of {get_args(Head)}, not {head!r}")
        super().__init__(
            model,
            max_length=max_length,
            device=device,
            dtype=dtype,
            tokenizer=tokenizer,
            reference_strong=reference_strong,
            reference_weak=reference_weak,
            thresholds=thresholds,
            provenance=provenance,
            metrics=metrics,
        )
        self.head = head
        labels, wanted = int(self._model.config.num_labels), 3 if head == "3way" else 1
        if labels != wanted:
            raise ConfigurationError(
                f"head={head!r} needs a classifier with {wanted} labels, and this one has {labels}"
            )

    def strong_win_rates(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Classify the prompts and return their strong win rates, shape (n,)."""
        require_list(prompts)
        tokenizer = self._tokens.tokenizer
        nothing = [next((i for i in (tokenizer.bos_token_id, tokenizer.eos_token_id) if i is not None), 0)]
        encoded = self._tokens.encode(prompts, truncation=True, max_length=self.max_length)
        rows = [row or nothing for row in encoded]  # not every tokenizer puts marks around an empty prompt
        logits = np.empty((len(rows), self._model.config.num_labels))
        # A decoder finds the token that it answers at by the padding; one that has none takes no two rows at once.
        alone = self._model.config.pad_token_id is None
        batches = ([index] for index in range(len(rows))) if alone else batches_of_like_length(rows, self.device.type)
        for batch in batches:
            logits[batch] = self._logits([rows[index] for index in batch])
        if self.head == "sigmoid":
            return sigmoid(logits[:, 0])
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(odds[:, 0] / odds.sum(axis=1))

    def _logits(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        import torch

        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self._model.config.pad_token_id or 0)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = 1
        with torch.inference_mode():
            logits = self._model(input_ids=ids.to(self.device), attention_mask=mask.to(self.device)).logits
        return np.asarray(logits.double().cpu().numpy())

    def _parameters(self) -> dict[str, Any]:
        return {"head": self.head}

    @classmethod
    def _arguments(cls, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {"head": parameters.get("head")}
