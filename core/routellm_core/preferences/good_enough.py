"""Labels from the weak model's answers alone, as judges with scores of 1 to 5 give them."""

import numpy as np

from routellm_core.errors import ConfigurationError
from routellm_core.preferences.battles import SOURCES, PreferenceDataset, Source
from routellm_core.preferences.outcomes import OutcomeTable

GOOD_ENOUGH = 4.0
"""Of scores from 1 to 5: "about as good as the reference"."""


def good_enough_battles(
    table: OutcomeTable, strong: str, weak: str, *, good_enough: float = GOOD_ENOUGH, source: Source = "judge"
) -> PreferenceDataset:
    """Let the weak model win where its answer is good enough, and the strong one where it is not; there are no ties.

    This is the binary rule of RouteLLM's released causal_llm (arXiv 2406.18665): a judge grades the weak model's answer from 1 to
    5 with the strong model's, or a person's, in view, and 4 or 5 is a win. The strong model needs no score, and no column.

    Args:
        table: Scores of the weak model; prompts without one make no battle.
        strong: The name of the strong model.
        weak: The weak one, a column of the table.
        good_enough: From which score on the weak model wins, on the scale of the scores.
        source: Who made the scores: "judge", "gold" (references) or "human".

    Raises:
        UnknownModelError: If the table does not have the weak model.
        ConfigurationError: If the two are the same, the bound is no number, or the source is unknown.
    """
    if strong == weak:
        raise ConfigurationError(f"strong and weak must be two models, not both {weak!r}")
    if not np.isfinite(good_enough):
        raise ConfigurationError(f"good_enough must be a finite number, such as {GOOD_ENOUGH:g}, not {good_enough!r}")
    if source not in SOURCES:
        raise ConfigurationError(f"source must be one of {', '.join(map(repr, SOURCES))}, not {source!r}")
    scores = table.column(weak)
    rows = np.flatnonzero(~np.isnan(scores))
    return PreferenceDataset.from_indices(
        table.prompts,
        (strong, weak),
        rows,
        np.zeros(len(rows), np.int32),
        np.ones(len(rows), np.int32),
        (scores[rows] < good_enough).astype(np.float64),
        source,
    )
