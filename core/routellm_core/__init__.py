"""Learned routing between language models: score a prompt, choose the model, before any is called.

Start with `RoutingEngine`, or with an adapter: `routellm_langchain.RoutedChatModel`, `routellm_llamaindex.RoutedLLM`.
"""

from routellm_core._version import __version__
from routellm_core.calibration import ThresholdCalibration, ThresholdTable, calibrate_threshold
from routellm_core.decision import RoutingDecision, RoutingRequest
from routellm_core.embedders.base import Embedder
from routellm_core.engine import RoutingEngine
from routellm_core.errors import RouteLLMError
from routellm_core.registry import load_router
from routellm_core.routers.base import PairRouter, PoolRouter, Router
from routellm_core.scope import routing

__all__ = [
    "Embedder",
    "PairRouter",
    "PoolRouter",
    "RouteLLMError",
    "Router",
    "RoutingDecision",
    "RoutingEngine",
    "RoutingRequest",
    "ThresholdCalibration",
    "ThresholdTable",
    "__version__",
    "calibrate_threshold",
    "load_router",
    "routing",
]
