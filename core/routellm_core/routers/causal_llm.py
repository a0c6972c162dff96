"""A causal language model that writes a label token, as a router (RouteLLM, arXiv 2406.18665, section 4.2)."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from routellm_core.calibration import ThresholdTable
from routellm_core.checkpoints.model_folder import ModelFolder
from routellm_core.checkpoints.published import CAUSAL_LLM_REPO
from routellm_core.errors import CheckpointFormatError, ConfigurationError
from routellm_core.routers.label_prompt import LabelPrompt
from routellm_core.routers.transformers_backend import Dtype, batches_of_like_length, cache_argument
from routellm_core.routers.transformers_router import TransformersRouter
from routellm_core.texts import require_list

Labels = Literal["score5", "win_tie_loss"]

STRONG_SHARE: Mapping[str, tuple[float, ...]] = {
    "score5": (1.0, 1.0, 1.0, 0.0, 0.0),
    "win_tie_loss": (1.0, 0.5, 0.0),
}
"""How much the probability of each label adds to the strong win rate."""

DEFAULT_TOKENS: Mapping[str, tuple[str, ...]] = {
    "score5": ("[[1]]", "[[2]]", "[[3]]", "[[4]]", "[[5]]"),
    "win_tie_loss": ("[[win]]", "[[tie]]", "[[loss]]"),
}
"""What the label tokens are called unless said otherwise."""


class CausalLLMRouter(TransformersRouter):
    """Reads the strong win rate off the label that a language model would write for a prompt.

    The model is fine-tuned to answer a fixed prompt around the user's with one of a few label tokens that were added to its
    vocabulary. Greedy decoding up to the label is done in one forward pass: what comes before the label is known, so it is given
    and checked. Only where the model would have written something else is it decoded token by token. What leads to no label
    within `max_new_tokens` is invalid, and its strong win rate is 1.

    The part of the prompt before the user's is computed once. Prompts of like length are scored together; padding and the size of
    a batch change the rounding of the model's numbers, in float32 by less than 1e-5 of the win rate.

    Args:
        model: A folder with any causal language model of transformers: config.json, safetensors and tokenizer.
        prompt: The text around the user's; see `LabelPrompt.from_chat_template`.
        labels: "score5" takes five labels, how well the weak model's answer is expected to score, and the win rate is the
            probability of the lower three. "win_tie_loss" takes three, how the strong model fares, and a tie counts half.
        label_tokens: The label tokens, in that order; None takes `DEFAULT_TOKENS`.
        max_new_tokens: How many tokens the label may take to come, itself included.
        max_length: How many tokens are read, those of the fixed prompt included; None takes what the model takes. The middle of a
            longer prompt is left out.
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
        ConfigurationError: If an argument is not what it should be.
        CheckpointError: If the folder does not hold such a model, or its vocabulary lacks a label token.
    """

    name = "causal_llm"
    auto_class = "AutoModelForCausalLM"
    published_repo = CAUSAL_LLM_REPO

    def __init__(
        self,
        model: str | os.PathLike[str] | ModelFolder,
        *,
        prompt: LabelPrompt,
        labels: Labels = "score5",
        label_tokens: Sequence[str] | None = None,
        max_new_tokens: int = 1,
        max_length: int | None = None,
        device: str | None = None,
        dtype: Dtype | None = None,
        tokenizer: str | os.PathLike[str] | None = None,
        reference_strong: str = "strong",
        reference_weak: str = "weak",
        thresholds: ThresholdTable | None = None,
        provenance: dict[str, Any] | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> None:
        if labels not in get_args(Labels):
            raise ConfigurationError(f"labels must be one of {get_args(Labels)}, not {labels!r}")
        self.label_tokens = DEFAULT_TOKENS[labels] if label_tokens is None else tuple(label_tokens)
        if len(set(self.label_tokens)) != len(STRONG_SHARE[labels]):
            raise ConfigurationError(
                f"labels={labels!r} needs {len(STRONG_SHARE[labels])} different label tokens, not {self.label_tokens!r}"
            )
        if type(max_new_tokens) is not int or max_new_tokens < 1:
            raise ConfigurationError(f"max_new_tokens must be a whole number of 1 or more, not {max_new_tokens!r}")
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
        self.labels = labels
        self.prompt = prompt
        self.max_new_tokens = max_new_tokens
        self._label_ids = _label_ids(
            self._tokens.tokenizer, self.label_tokens, self._model, origin=str(self._folder.path)
        )
        self._header = self._tokens.encode([prompt.header], add_special_tokens=False)[0] if prompt.header else []
        if len(self._header) >= max_new_tokens:
            raise ConfigurationError(
                f"max_new_tokens={max_new_tokens} leaves no room for a label after the {len(self._header)} tokens of the header"
            )
        self._start, self._end = self._fixed_tokens()
        self.max_length -= max_new_tokens
        if self.max_length < len(self._start) + len(self._end) + 8:
            raise ConfigurationError(
                f"the fixed prompt takes {len(self._start) + len(self._end)} tokens, which leaves no room for the user's in "
                f"{self.max_length + max_new_tokens}: give a larger max_length"
            )
        self._stop_ids = _stop_ids(self._model)
        self._cache_name = cache_argument(self._model)
        self._start_cache = self._cache_of_start()

    def _encode(self, prompts: Sequence[str]) -> list[list[int]]:
        texts = [f"{self.prompt.prefix}{prompt}{self.prompt.suffix}" for prompt in prompts]
        return self._tokens.encode(texts, add_special_tokens=self.prompt.add_special_tokens)

    def _fixed_tokens(self) -> tuple[list[int], list[int]]:
        """Return the tokens that begin and end every prompt, whatever a tokenizer merges across the user's text."""
        rows = self._encode(["a", "Z?", " 7", "\n\nx\n", "\tэ ", "```{", "语"])
        return _common_start(rows), _common_start([row[::-1] for row in rows])[::-1]

    def strong_win_rates(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Read the label distribution of every prompt and return the strong win rates, shape (n,)."""
        require_list(prompts)
        rows = [self._shortened(row) for row in self._encode(prompts)]
        rates = np.empty(len(rows))
        for batch in batches_of_like_length(rows, self.device.type):
            for index, logits in zip(batch, self._label_logits([rows[index] for index in batch]), strict=True):
                rates[index] = self._win_rate(logits)
        return rates

    def _shortened(self, row: list[int]) -> list[int]:
        if len(row) <= self.max_length:
            return row
        room = self.max_length - len(self._start) - len(self._end)
        tail = len(self._end) + room // 2
        return row[: self.max_length - tail] + row[-tail:]

    def _win_rate(self, logits: NDArray[np.float64] | None) -> float:
        if logits is None:
            return 1.0
        odds = np.exp(logits - logits.max())
        return min(1.0, float(odds @ np.array(STRONG_SHARE[self.labels]) / odds.sum()))

    def _label_logits(self, rows: Sequence[list[int]]) -> list[NDArray[np.float64] | None]:
        """Return the logits of the labels where the first label would be written; None where none would."""
        found: list[NDArray[np.float64] | None] = []
        header = self._header
        # (rows, len(header) + 1, labels): at step s, what comes after the prompt and s tokens of the header.
        best, labels = self._forward([[*row, *header] for row in rows], keep=len(header) + 1)
        for row, chosen, logits in zip(rows, best, labels, strict=True):
            step = 0
            while step < len(header) and chosen[step] == header[step] and chosen[step] not in self._label_ids:
                step += 1
            if chosen[step] in self._label_ids:
                found.append(logits[step])
            else:
                found.append(self._decode(row, [*header[:step], chosen[step]]))
        return found

    def _decode(self, row: list[int], written: list[int]) -> NDArray[np.float64] | None:
        """Go on from what the model has written instead of the header, one token at a time."""
        while written[-1] not in self._stop_ids and len(written) < self.max_new_tokens:
            best, labels = self._forward([[*row, *written]], keep=1)
            written = [*written, best[0][0]]
            if written[-1] in self._label_ids:
                return np.asarray(labels[0, 0])
        return None

    def _forward(self, rows: Sequence[list[int]], *, keep: int) -> tuple[list[list[int]], NDArray[np.float64]]:
        """Return the likeliest token and the logits of the labels at the last `keep` places of every row."""
        import torch

        start = self._start if all(row[: len(self._start)] == self._start for row in rows) else []
        rows = [row[len(start) :] for row in rows]
        longest = max(map(len, rows))
        ids = torch.zeros((len(rows), longest), dtype=torch.long)
        mask = torch.zeros((len(rows), len(start) + longest), dtype=torch.long)
        mask[:, : len(start)] = 1
        for index, row in enumerate(rows):  # padded on the left, so that the last places are those of every row
            ids[index, longest - len(row) :] = torch.tensor(row)
            mask[index, len(start) + longest - len(row) :] = 1
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, len(start) :]
        with torch.inference_mode():
            logits = self._model(
                input_ids=ids.to(self.device),
                attention_mask=mask.to(self.device),
                position_ids=positions.to(self.device),
                use_cache=bool(start),
                logits_to_keep=keep,
                **{self._cache_name: self._shared_cache(len(rows)) if start else None},
            ).logits
        best: list[list[int]] = logits.argmax(dim=-1).tolist()
        return best, np.asarray(logits[..., list(self._label_ids)].double().cpu().numpy())

    def _cache_of_start(self) -> Any:
        """Compute keys and values of the tokens that begin every prompt; None for a model that keeps others."""
        import torch
        from transformers import DynamicCache

        if not self._start:
            return None
        with torch.inference_mode():
            begun = self._model(
                input_ids=torch.tensor([self._start], device=self.device), use_cache=True, logits_to_keep=1
            )
        cache = getattr(begun, self._cache_name)
        if not isinstance(cache, DynamicCache) or any(_keys(layer) is None for layer in cache.layers):
            self._start = []
            return None
        return cache

    def _shared_cache(self, n_rows: int) -> Any:
        """Return a cache that begins with the same memory for every row, and leaves the original as it is."""
        from copy import copy

        shared = copy(self._start_cache)
        shared.layers = [copy(layer) for layer in self._start_cache.layers]
        for layer in shared.layers:
            layer.keys = layer.keys.expand(n_rows, -1, -1, -1)
            layer.values = layer.values.expand(n_rows, -1, -1, -1)
        return shared

    def _parameters(self) -> dict[str, Any]:
        return {
            "labels": self.labels,
            "label_tokens": list(self.label_tokens),
            "prompt": self.prompt.to_dict(),
            "max_new_tokens": self.max_new_tokens,
        }

    @classmethod
    def _arguments(cls, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "prompt": LabelPrompt.from_dict(parameters.get("prompt")),
            "labels": parameters.get("labels"),
            "label_tokens": parameters.get("label_tokens"),
            "max_new_tokens": parameters.get("max_new_tokens", 1),
        }


def _common_start(rows: Sequence[list[int]]) -> list[int]:
    shortest = min(rows, key=len)
    for place, token in enumerate(shortest):
        if any(row[place] != token for row in rows):
            return shortest[:place]
    return shortest


def _keys(layer: Any) -> Any:
    keys = getattr(layer, "keys", None)
    return keys if getattr(keys, "ndim", 0) == 4 else None


def _stop_ids(model: Any) -> frozenset[int]:
    ends = getattr(model.generation_config, "eos_token_id", None)
    return frozenset([ends] if isinstance(ends, int) else ends or [])


def _label_ids(tokenizer: Any, tokens: Sequence[str], model: Any, *, origin: str) -> tuple[int, ...]:
    """Return the ids of the label tokens.

    A tokenizer that has none of them is the one of the model before the labels were added; they then are the rows that the model
    has beyond it, in their order.
    """
    known = tokenizer.get_vocab()
    rows = int(model.get_input_embeddings().weight.shape[0])
    if not any(token in known for token in tokens) and rows == len(tokenizer) + len(tokens):
        tokenizer.add_tokens(list(tokens), special_tokens=True)
        known = tokenizer.get_vocab()
    missing = [token for token in tokens if token not in known or known[token] >= rows]
    if missing:
        raise CheckpointFormatError(
            f"{origin}: the vocabulary has no label token {', '.join(missing)}; a language model becomes a router by adding "
            "them to its tokenizer, resizing its embeddings and training it to write them"
        )
    return tuple(known[token] for token in tokens)
