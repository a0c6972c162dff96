"""How the shipped router behaves outside its training data: padding, translations, and what it does with each kind of prompt.

    ROUTELLM_OUTCOME_DATA=folder python -m benchmarks.default_study.behaviour

A decision flips where a prompt goes to the other model with padding than without. The threshold is the stored one for a strong
fraction of 0.5, and then that of the same prompts without padding. Intervals are 95% bootstrap intervals over prompts.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.default_study.behaviour_prompts import PADDING, TEXTS, TRANSLATIONS, kinds
from benchmarks.default_study.data import benchmarks, study_run
from benchmarks.replication.common import Run
from routellm_core.evaluation.bootstrap import bootstrap_interval
from routellm_core.evaluation.interval import Interval
from routellm_core.routers.default import DefaultRouter

Flags = NDArray[np.bool_]
QUESTIONS = 150
"""So many prompts of each benchmark are padded too."""


def share(flags: Flags) -> Interval:
    """Return a share with its interval."""
    values = flags.astype(float)
    return bootstrap_interval(lambda rows: float(values[rows].mean()), len(values))


def half(rates: NDArray[np.float64]) -> float:
    """Return the threshold that sends half of these prompts to strong."""
    return float(np.median(rates))


def prompts_of(run: Run) -> dict[str, Sequence[str]]:
    """Return the prompts that are padded: own ones, those of benchmarks, and all together."""
    own = {name: texts for name, texts in kinds().items() if name not in ("long documents", "retrieved context")}
    sets: dict[str, Sequence[str]] = {"own prompts": [text for texts in own.values() for text in texts]}
    for name, table in benchmarks(run).items():
        drawn = np.random.default_rng(0).permutation(len(table))[:QUESTIONS]
        sets[name] = [table["prompt"][i] for i in drawn]
    sets["all together"] = [text for texts in sets.values() for text in texts]
    return sets


def padded(run: Run, router: DefaultRouter) -> dict[str, Any]:
    """Measure how often each kind of padding flips a decision."""
    sets = prompts_of(run)
    stored = router.thresholds
    if stored is None:
        raise SystemExit("the router has no thresholds")
    found: dict[str, Any] = {"sets": {name: len(texts) for name, texts in sets.items()}, "flips": {}}
    for name, texts in sets.items():
        plain = router.strong_win_rates(texts)
        at = {"stored": stored.threshold_for(0.5), "own": half(plain)}
        flips = {key: _flips(router, texts, plain, threshold) for key, threshold in at.items()}
        found["flips"][name] = {key: {pad: share(of) for pad, of in one.items()} for key, one in flips.items()}
        means = {key: np.mean(list(one.values()), axis=0) for key, one in flips.items()}
        found["flips"][name]["mean"] = {key: _mean(values) for key, values in means.items()}
    return found


def _flips(
    router: DefaultRouter, texts: Sequence[str], plain: NDArray[np.float64], threshold: float
) -> dict[str, Flags]:
    found = {}
    for name, pad in PADDING.items():
        rates = router.strong_win_rates([pad(text, i) for i, text in enumerate(texts)])
        found[name] = (rates >= threshold) != (plain >= threshold)
    return found


def _mean(values: NDArray[np.float64]) -> Interval:
    return bootstrap_interval(lambda rows: float(values[rows].mean()), len(values))


def translated(router: DefaultRouter) -> dict[str, Any]:
    """Measure how often translations are reported as out of domain, and agree with the English decision."""
    stored = router.thresholds
    if stored is None:
        raise SystemExit("the router has no thresholds")
    english = router.strong_win_rates(TEXTS["questions"])
    rows: dict[str, Any] = {}
    for language, texts in {"English": TEXTS["questions"], **TRANSLATIONS}.items():
        rates = router.strong_win_rates(texts)
        reported = router.out_of_domain(texts)
        rows[language] = {
            "n": len(texts),
            "reported": share(reported),
            "agree at 0.5": share((rates >= stored.threshold_for(0.5)) == (english >= stored.threshold_for(0.5))),
            "agree or reported": share(
                reported | ((rates >= stored.threshold_for(0.5)) == (english >= stored.threshold_for(0.5)))
            ),
            "strong at": {
                str(fraction): float((rates >= stored.threshold_for(fraction)).mean()) for fraction in (0.3, 0.5, 0.7)
            },
        }
    return rows


def false_alarms(run: Run, router: DefaultRouter) -> dict[str, Any]:
    """Return what share of English prompts is taken for another language."""
    sets = {"made for this": [text for texts in kinds().values() for text in texts]}
    sets |= {name: table["prompt"].tolist() for name, table in benchmarks(run).items()}
    return {name: share(router.out_of_domain(texts)) for name, texts in sets.items()}


def by_kind(router: DefaultRouter) -> dict[str, Any]:
    """Return what share of each kind of prompt goes to strong, and what share is reported as out of domain."""
    stored = router.thresholds
    if stored is None:
        raise SystemExit("the router has no thresholds")
    rows: dict[str, Any] = {}
    for name, texts in kinds().items():
        rates = router.strong_win_rates(texts)
        rows[name] = {
            "n": len(texts),
            "characters": float(np.median([len(text) for text in texts])),
            "win rate": [float(np.quantile(rates, q)) for q in (0.5, 0.1, 0.9)],
            "strong": {str(fraction): share(rates >= stored.threshold_for(fraction)) for fraction in (0.3, 0.5, 0.7)},
            "reported": share(router.out_of_domain(texts)),
        }
    return rows


def main() -> None:
    """Measure."""
    run = study_run(__doc__)
    router = DefaultRouter.by_name()
    parts: dict[str, Callable[[], Any]] = {
        "padding": lambda: padded(run, router),
        "translations": lambda: translated(router),
        "false-alarms": lambda: false_alarms(run, router),
        "kinds": lambda: by_kind(router),
    }
    for name, compute in parts.items():
        run.part(f"behaviour-{name}", compute)


if __name__ == "__main__":
    main()
