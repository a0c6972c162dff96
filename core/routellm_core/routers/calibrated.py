"""A router whose win rates are calibrated probabilities."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.calibration import ThresholdTable
from routellm_core.errors import ConfigurationError
from routellm_core.probability import Method, ProbabilityCalibration, fit_probabilities
from routellm_core.routers.base import PairRouter, Router


class CalibratedRouter(PairRouter):
    """Another router's win rates, mapped to probabilities.

    Thresholds of the other router mean something else here. Stored apart from that router: `calibration.save(path)`, and
    `CalibratedRouter(load_router(...), ProbabilityCalibration.load(path))`, or `probabilities: path` at the router in the
    configuration file.

    Args:
        router: The router to ask.
        calibration: From its win rates to probabilities.
        thresholds: Of this router; None if it is not calibrated for shares of strong calls.

    Raises:
        ConfigurationError: If it is no pair router.
    """

    def __init__(
        self, router: Router, calibration: ProbabilityCalibration, *, thresholds: ThresholdTable | None = None
    ) -> None:
        if not isinstance(router, PairRouter):
            raise ConfigurationError(f"only the win rates of a pair router can be calibrated, not those of {router!r}")
        self._router = router
        self.calibration = calibration
        self.thresholds = thresholds
        self.name = f"{router.name}+{calibration.method}"
        self.reference_strong = router.reference_strong
        self.reference_weak = router.reference_weak

    @classmethod
    def fit(
        cls, router: PairRouter, prompts: Sequence[str], outcomes: ArrayLike, *, method: Method = "isotonic"
    ) -> "CalibratedRouter":
        """Calibrate a router on graded prompts that it was not trained on; its thresholds are theirs too.

        Args:
            router: The router.
            prompts: n texts.
            outcomes: 1 where strong was better, 0 where weak was, 0.5 for a tie; shape (n,).
            method: "isotonic" or "platt".

        Raises:
            CalibrationError: If the numbers do not fit; see `fit_probabilities`.
        """
        rates = router.strong_win_rates(prompts)
        calibration = fit_probabilities(rates, outcomes, method=method)
        source = f"the {len(prompts)} prompts that the probabilities were calibrated on"
        return cls(
            router,
            calibration,
            thresholds=ThresholdTable.from_win_rates(calibration.apply(rates), source=source),
        )

    def strong_win_rates(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Return calibrated win rates, shape (n,)."""
        return self.calibration.apply(self._router.strong_win_rates(prompts))

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the router and of its calibration."""
        digest = hashlib.sha256(json.dumps(self.calibration.to_dict()).encode())
        return f"{self._router.fingerprint}+{digest.hexdigest()[:32]}"
