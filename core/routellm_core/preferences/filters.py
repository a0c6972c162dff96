"""What is left out of preference data before training; each filter says how much it dropped."""

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import ConfigurationError
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.preferences.languages import guess_language
from routellm_core.preferences.normalise import normalise_text

MIN_CHARACTERS = 16
"""RouteLLM (arXiv 2406.18665, section 5) leaves out prompts that are shorter."""


@dataclass(frozen=True, eq=False)
class Filtered:
    """What a filter left, and what it dropped.

    Attributes:
        dataset: The battles that are kept.
        rule: What was dropped, in words.
        dropped: Their rows in the data set that was given.
        counts: How many battles were dropped for each reason.
    """

    dataset: PreferenceDataset
    rule: str
    dropped: NDArray[np.int64]
    counts: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON, without the rows."""
        return {"rule": self.rule, "dropped": len(self.dropped), "kept": len(self.dataset), "reasons": self.counts}


def drop_short(dataset: PreferenceDataset, *, min_characters: int = MIN_CHARACTERS) -> Filtered:
    """Leave out battles with a short prompt.

    Args:
        dataset: Battles.
        min_characters: Prompts with fewer characters go; white space at the ends is not counted.

    Raises:
        ConfigurationError: If the number is negative.
    """
    if min_characters < 0:
        raise ConfigurationError(f"min_characters must be 0 or more, not {min_characters!r}")
    reasons = ["short" if len(prompt.strip()) < min_characters else "" for prompt in dataset.prompts]
    return _by_prompt(dataset, reasons, f"prompts shorter than {min_characters} characters")


def keep_languages(
    dataset: PreferenceDataset,
    languages: Collection[str],
    *,
    detect: Callable[[str], str] = guess_language,
) -> Filtered:
    """Leave out battles whose prompt is in another language.

    Args:
        dataset: Battles.
        languages: Codes that are kept; "und" keeps prompts that give no hint.
        detect: Prompt to code; the default is the simple rule of `guess_language`, and any library's function can take its place.

    Raises:
        ConfigurationError: If no language is given.
    """
    if not languages or isinstance(languages, str):
        raise ConfigurationError(f'languages must be codes such as {{"en", "und"}}, not {languages!r}')
    found = [detect(prompt) for prompt in dataset.prompts]
    reasons = ["" if code in languages else code for code in found]
    return _by_prompt(dataset, reasons, f"prompts in other languages than {', '.join(sorted(languages))}")


def drop_duplicates(dataset: PreferenceDataset, *, seen: set[bytes] | None = None) -> Filtered:
    """Leave out battles that repeat an earlier one: same prompt after `normalise_text`, same two models, winner and source.

    Votes on one prompt that disagree all stay.

    Args:
        dataset: Battles.
        seen: What earlier parts of a larger set held, 16 bytes a battle; those of this part are added. None means nothing.
    """
    known: set[bytes] = set() if seen is None else seen
    texts = [normalise_text(prompt).encode("utf-8", "surrogatepass") for prompt in dataset.prompts]
    swap = dataset.model_a > dataset.model_b
    first, second = np.where(swap, [dataset.model_b, dataset.model_a], [dataset.model_a, dataset.model_b])
    outcome = np.where(swap, 1.0 - dataset.outcome, dataset.outcome)
    columns = (dataset.prompt_index, first, second, outcome, dataset.source)
    kept = np.zeros(len(dataset), np.bool_)
    for row, (p, a, b, y, s) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        battle = "\0".join((dataset.models[a], dataset.models[b], str(y), str(s), "")).encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(battle + texts[p], digest_size=16).digest()
        kept[row] = digest not in known
        known.add(digest)
    return _filtered(dataset, kept, "battles that repeat an earlier one", {"duplicate": int((~kept).sum())})


def _by_prompt(dataset: PreferenceDataset, reasons: list[str], rule: str) -> Filtered:
    names = sorted(set(reasons) - {""})
    code = {"": -1} | {name: i for i, name in enumerate(names)}
    of_row = np.array([code[reason] for reason in reasons], np.int64)[dataset.prompt_index]
    counts = np.bincount(of_row[of_row >= 0], minlength=len(names)).tolist()
    return _filtered(dataset, of_row < 0, rule, dict(zip(names, counts, strict=True)))


def _filtered(dataset: PreferenceDataset, kept: NDArray[np.bool_], rule: str, counts: dict[str, int]) -> Filtered:
    return Filtered(dataset.select(kept), rule, np.flatnonzero(~kept), {name: n for name, n in counts.items() if n})
