"""The state of an unfinished training run, on disk, so that a run that was killed goes on where it was."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import ConfigurationError
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.preferences.partial_files import partial_path

STATE_FILE = "training_state.safetensors"


class TrainingState:
    """One file in a folder, replaced as a whole, so that it is always the state of one moment.

    Args:
        folder: Where it is; made when the first state is saved.
        key: What the run depends on, as plain JSON: another key, another run.
    """

    def __init__(self, folder: str | os.PathLike[str], key: Mapping[str, Any]) -> None:
        self._path = Path(folder) / STATE_FILE
        self._key = json.loads(json.dumps(key))

    def save(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        """Replace the stored state.

        Args:
            arrays: What is numbers.
            facts: The rest, as plain JSON.
        """
        from safetensors.numpy import save_file

        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = partial_path(self._path)
        metadata = {"key": json.dumps(self._key), "facts": json.dumps(facts)}
        try:
            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, partial, metadata)
            partial.replace(self._path)
        finally:
            partial.unlink(missing_ok=True)

    def load(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
        """Return the stored arrays and facts; None if there is no state yet.

        Raises:
            ConfigurationError: If it belongs to a run with other settings or other data, or cannot be read.
        """
        if not self._path.is_file():
            return None
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._path, framework="numpy") as stored:
                metadata = stored.metadata() or {}
                key, facts = json.loads(metadata["key"]), json.loads(metadata["facts"])
                arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  (no mapping)
        except (SafetensorError, KeyError, ValueError) as error:
            raise ConfigurationError(f"{self._path} holds no training state: remove it to begin anew") from error
        if key != self._key:
            different = sorted(name for name in {*key, *self._key} if key.get(name) != self._key.get(name))
            raise ConfigurationError(
                f"{self._path} belongs to another run, which differs in: {', '.join(different)}. Give the same data and "
                "settings to go on with it, or another folder to begin anew"
            )
        return arrays, facts

    def discard(self) -> None:
        """Remove the stored state, once its run has ended."""
        self._path.unlink(missing_ok=True)


def battles_digest(dataset: PreferenceDataset) -> str:
    """Return a digest of battles, in their order: what a training run depends on."""
    digest = hashlib.sha256()
    for text in (*dataset.prompts, *dataset.models):
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    for column in (dataset.prompt_index, dataset.model_a, dataset.model_b, dataset.outcome, dataset.weight):
        if column is not None:
            digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:32]
