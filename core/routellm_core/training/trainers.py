"""Every trainer by the name of its router: what data it learns from, and how it is run on a table."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_type_hints

import numpy as np

from routellm_core.errors import ConfigurationError
from routellm_core.preferences.battles import PreferenceDataset, read_battles
from routellm_core.preferences.normalise import normalise_text
from routellm_core.preferences.outcomes import OutcomeTable, read_outcomes
from routellm_core.preferences.tables import Table
from routellm_core.training.default import split_outcomes, split_sides
from routellm_core.training.held_out import BattleSplit
from routellm_core.training.outcome_data import labelled_rows
from routellm_core.training.pair_router import PairBattles

Learns = Literal["battles", "outcomes", "either"]
Vectors = Literal["embedder", "model"]


@dataclass(frozen=True)
class Trainer:
    """How a router is trained.

    Attributes:
        function: "module:function" of the trainer, called as (data, embedder or model, config).
        config: The name of its settings' class, in the same module.
        learns: What it takes: battles, outcomes, or either. A table of outcomes can always be read as battles.
        reads: Whether prompts become vectors by an embedder, or are read by a transformer that is fine-tuned.
        resumes: Whether a run that was killed can go on.
        fits: Embedders that it fits to the prompts itself, and takes by name.
    """

    function: str
    config: str
    learns: Learns
    reads: Vectors = "embedder"
    resumes: bool = False
    fits: tuple[str, ...] = ()

    def settings_class(self) -> Any:
        """Return the class of the settings."""
        return getattr(import_module(self._module), self.config)

    def run(self, *arguments: Any, **options: Any) -> Any:
        """Train; see the function itself."""
        return getattr(import_module(self._module), self.function.partition(":")[2])(*arguments, **options)

    @property
    def _module(self) -> str:
        return self.function.partition(":")[0]


_HERE = "routellm_core.training"
TRAINERS: Mapping[str, Trainer] = {
    "mf": Trainer(
        f"{_HERE}.matrix_factorization:train_matrix_factorization", "MatrixFactorizationConfig", "battles", resumes=True
    ),
    "sw_ranking": Trainer(
        f"{_HERE}.similarity_weighted:train_similarity_weighted", "SimilarityWeightedConfig", "battles"
    ),
    "default": Trainer(f"{_HERE}.default:train_default", "DefaultConfig", "either"),
    "bert": Trainer(f"{_HERE}.bert:train_bert", "BertConfig", "battles", "model", resumes=True),
    "causal_llm": Trainer(f"{_HERE}.causal_llm:train_causal_llm", "CausalLLMConfig", "battles", "model", resumes=True),
    "knn": Trainer(f"{_HERE}.outcome_knn:train_knn", "KNNConfig", "outcomes"),
    "mlp": Trainer(f"{_HERE}.outcome_mlp:train_mlp", "MLPConfig", "outcomes"),
    "cluster": Trainer(f"{_HERE}.outcome_cluster:train_cluster", "ClusterConfig", "outcomes", fits=("tfidf",)),
    "multilabel": Trainer(f"{_HERE}.outcome_linear:train_multilabel", "LinearConfig", "outcomes"),
    "separate": Trainer(f"{_HERE}.outcome_linear:train_separate", "LinearConfig", "outcomes"),
}


Data = PreferenceDataset | OutcomeTable


def read_training_data(path: str | Path, trainer: Trainer, *, name: str) -> tuple[Data, Data | None]:
    """Read a table of battles or of outcomes as what a trainer learns from.

    Args:
        path: See `Table`.
        trainer: Who learns.
        name: Its router, for the error.

    Returns:
        What to learn from, and what to measure on: the rows of a table of outcomes whose column `split` is not "train", where
        there are rows of both kinds; else None. Training prompts that are to be measured on, too, are left out of the first.

    Raises:
        ConfigurationError: If the file cannot be read, has no rows, or holds battles where outcomes are needed.
    """
    table = Table(path)
    if next(table.batches(size=1), None) is None:
        raise ConfigurationError(f"{path} has no rows: there is nothing to learn from")
    columns = table.columns
    if not any(column.startswith(("score::", "samples::")) for column in columns):
        if trainer.learns == "outcomes":
            raise ConfigurationError(
                f"{path}: router {name!r} learns from outcomes, a column score::<model> for each model, and the columns are "
                f"{', '.join(columns)}; battles train mf, sw_ranking, bert, causal_llm and default"
            )
        return read_battles(path), None
    outcomes = read_outcomes(path)
    parts = [outcomes]
    if outcomes.split is not None and 0 < outcomes.split.count("train") < len(outcomes):
        held_out = np.array([part != "train" for part in outcomes.split])
        seen = {normalise_text(outcomes.prompts[row]) for row in np.flatnonzero(held_out)}
        leaked = np.array([normalise_text(prompt) in seen for prompt in outcomes.prompts])
        parts = [outcomes.select(~held_out & ~leaked), outcomes.select(held_out)]
    read: list[Data] = [part.to_battles() if trainer.learns == "battles" else part for part in parts]
    return read[0], read[1] if len(read) == 2 else None


def hold_out(data: Data, *, fraction: float, seed: int) -> tuple[Data, Data]:
    """Return a training and a validation part that have no prompt in common.

    Args:
        data: Battles or outcomes.
        fraction: The share of the distinct prompts that goes to validation, in (0, 1).
        seed: Another seed, another split.
    """
    if isinstance(data, PreferenceDataset):
        return data.split(validation_fraction=fraction, seed=seed)
    return split_outcomes(data, fraction=fraction, seed=seed)


def check_training_data(trainer: Trainer, training: Any, validation: Any, config: Any) -> None:
    """Refuse what the trainer would refuse, before anything is embedded.

    Args:
        trainer: Who learns.
        training: What from, as `read_training_data` and `hold_out` return it.
        validation: What is measured on; not looked at for a trainer of outcomes, which draws it.
        config: Its settings.

    Raises:
        ConfigurationError: If there is nothing to learn from or to measure on.
        UnknownModelError: If a model of the pair is not in the data.
    """
    if trainer.learns == "outcomes":
        labelled_rows(training, config)
    elif trainer.learns == "either":
        split_sides(training, validation, config)
    else:
        split = BattleSplit.of(training, validation, config)
        for part in (split.training, split.validation) if trainer.reads == "model" else ():
            PairBattles.of(part, split.strong, split.weak)


def make_settings(trainer: Trainer, given: Mapping[str, Any], *, recipe: str | None = None) -> Any:
    """Make a trainer's settings of named values.

    Args:
        trainer: Whose settings.
        given: Setting to value.
        recipe: A recipe of "mf" that the settings change; None takes the defaults.

    Raises:
        ConfigurationError: If a setting is unknown or its value wrong, or the trainer has no recipes.
    """
    from pydantic import TypeAdapter, ValidationError  # only to check what was typed in

    cls = trainer.settings_class()
    known = [field.name for field in fields(cls)]
    kinds = get_type_hints(cls)
    for name, value in given.items():
        if name not in known:
            raise ConfigurationError(f"there is no setting {name!r}; there are: {', '.join(known)}")
        try:
            TypeAdapter(kinds[name]).validate_python(value, strict=True)
        except ValidationError as error:
            wanted = " or ".join(dict.fromkeys(mistake["msg"] for mistake in error.errors()))
            raise ConfigurationError(f"setting {name}={value!r}: {wanted}") from None
    try:
        if recipe is None:
            return cls(**given)
        if not hasattr(cls, "of_recipe"):
            raise ConfigurationError(f"recipe={recipe!r}: this router has no recipes")
        return cls.of_recipe(recipe, **given)
    except TypeError as error:
        raise ConfigurationError(f"the settings {dict(given)!r} are not of the right kinds: {error}") from error
