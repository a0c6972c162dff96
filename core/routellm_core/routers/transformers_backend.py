"""What the routers that are transformers share: loading without code or pickle, and batches of like length."""

import inspect
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from routellm_core.checkpoints.model_folder import ModelFolder
from routellm_core.embedders.base import encodable
from routellm_core.errors import (
    CheckpointFormatError,
    CheckpointNotFoundError,
    ConfigurationError,
    MissingDependencyError,
)

Dtype = Literal["float32", "bfloat16", "float16"]

_TOKENS_PER_BATCH, _TOKENS_PER_BATCH_ON_CPU = 32768, 4096
_WORTH_PADDING, _WORTH_PADDING_ON_CPU = 256, 24
"""How many tokens of padding cost less than reading all weights once more, for a row of its own. On two cores, BERT-base and a
language model of 135M parameters calculate about 25 tokens in that time; a graphics card calculates far more."""

_UNLIMITED = 1_000_000
"""A tokenizer that knows no longest text says a number beyond this."""


def import_torch(what: str) -> Any:
    """Return the module torch, once transformers is known to be there too.

    Raises:
        MissingDependencyError: If one of them is not installed.
    """
    try:
        import torch
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError.for_extra(what, "torch") from error
    return torch


def pick_device(device: str | None) -> Any:
    """Return the torch device of a name; None takes CUDA where there is one, else the CPU.

    Raises:
        ConfigurationError: If torch knows no such device, or this machine has none.
    """
    import torch

    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:  # builds without CUDA raise the latter
        reason = str(error).partition("\n")[0]
        raise ConfigurationError(
            f"device={device!r} cannot be used here ({reason}); None takes what there is"
        ) from error
    return chosen


def check_runtime(what: str, device: str | None, dtype: str | None) -> None:
    """Refuse a device or a number type that there is not, before a model is loaded.

    Args:
        what: Who needs torch, as the subject of a sentence.
        device: As for `pick_device`.
        dtype: A `Dtype`; None for the stored one.

    Raises:
        MissingDependencyError: If the extra `torch` is not installed.
        ConfigurationError: If one of them does not exist.
    """
    import_torch(what)
    pick_device(device)
    if dtype is not None and dtype not in get_args(Dtype):
        allowed = ", ".join(map(repr, get_args(Dtype)))
        raise ConfigurationError(f"dtype must be one of {allowed}, or None for that of the checkpoint, not {dtype!r}")


def load_model(auto_class: str, folder: ModelFolder, *, dtype: str | None, device: Any) -> Any:
    """Load a model from safetensors, in evaluation mode.

    Args:
        auto_class: The class of transformers that loads it ("AutoModelForCausalLM").
        folder: Where it is.
        dtype: A `Dtype`; None takes the stored one.
        device: A torch device.

    Raises:
        CheckpointFormatError: If it wants code of its own, lacks weights, or is damaged.
    """
    import torch
    import transformers

    try:
        model, report = getattr(transformers, auto_class).from_pretrained(
            folder.path,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype="auto" if dtype is None else getattr(torch, dtype),
            output_loading_info=True,
        )
    # Whatever the files make transformers raise (ValueError, KeyError, OSError, SafetensorError, RuntimeError) has one cause.
    except Exception as error:
        raise CheckpointFormatError(_not_loadable(folder.path, error)) from error
    if absent := sorted(report["missing_keys"]):
        raise CheckpointFormatError(f"{str(folder.path)!r} has no weights for {', '.join(absent[:5])}")
    return model.eval().requires_grad_(False).to(device)


def load_tokenizer(path: str | os.PathLike[str]) -> Any:
    """Load a tokenizer from a folder.

    Raises:
        CheckpointNotFoundError: If the folder has none.
        CheckpointFormatError: If it wants code of its own, or is damaged.
    """
    import transformers

    path = Path(path)
    try:
        has_tokenizer = ModelFolder(path, tuple(file.name for file in path.iterdir()), ()).has_tokenizer
    except OSError as error:
        raise CheckpointNotFoundError(f"tokenizer={str(path)!r} is no folder") from error
    if not has_tokenizer:
        raise CheckpointNotFoundError(
            f"{str(path)!r} has no tokenizer (tokenizer.json or its like); give tokenizer=, the folder of the one the model was "
            "trained with"
        )
    try:
        return transformers.AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # as above
        raise CheckpointFormatError(_not_loadable(path, error)) from error


def _not_loadable(path: Path, error: Exception) -> str:
    if "trust_remote_code" in str(error):
        return (
            f"{str(path)!r} wants to run code of its own, which is never done here: use a model that transformers knows"
        )
    reason = str(error).strip().partition("\n")[0]
    return f"{str(path)!r} cannot be loaded by transformers: {type(error).__name__}: {reason}"


def cache_argument(model: Any) -> str:
    """Return the name by which a model takes and gives back keys and values, which transformers 5.24 changed."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def longest_input(model: Any, tokenizer: Any, wanted: int | None) -> int:
    """Return how many tokens a model takes: the least of what is wanted, its tokenizer's limit and its positions.

    Raises:
        ConfigurationError: If a limit is wanted that leaves no room.
    """
    if wanted is not None and (type(wanted) is not int or wanted < 8):
        raise ConfigurationError(f"max_length must be a whole number of 8 or more, or None, not {wanted!r}")
    limits = [limit for limit in (wanted, tokenizer.model_max_length) if limit is not None and limit < _UNLIMITED]
    positions = getattr(model.config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        limits.append(positions - _reserved_positions(model))
    return min(limits, default=_UNLIMITED)


def _reserved_positions(model: Any) -> int:
    """Models of the RoBERTa family begin to count after the position of the padding."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings"):
            padding = getattr(module, "padding_idx", None)
            return 0 if padding is None else int(padding) + 1
    return 0


class Tokens:
    """A tokenizer that several threads may use: none of them sees the settings of another."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str], **options: Any) -> list[list[int]]:
        """Return the token ids of every text; a lone surrogate, which no tokenizer takes, is read as a question mark."""
        if not texts:
            return []
        with self._lock:
            encoded = self.tokenizer([encodable(text) for text in texts], verbose=False, **options)
        ids: list[list[int]] = encoded["input_ids"]
        return ids


def batches_of_like_length(rows: Sequence[Sequence[int]], device_type: str) -> Iterator[list[int]]:
    """Group rows so that little is padded; yields the indices of a batch, longest rows first.

    Equal rows are ordered by their tokens, so that the same prompts make the same batches whatever order they come in.
    """
    on_cpu = device_type == "cpu"
    budget = _TOKENS_PER_BATCH_ON_CPU if on_cpu else _TOKENS_PER_BATCH
    padding = _WORTH_PADDING_ON_CPU if on_cpu else _WORTH_PADDING
    batch: list[int] = []
    for index in sorted(range(len(rows)), key=lambda i: (-len(rows[i]), tuple(rows[i]))):
        longest = len(rows[batch[0]]) if batch else 0
        if batch and ((len(batch) + 1) * longest > budget or longest - len(rows[index]) > padding):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
