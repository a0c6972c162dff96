"""The names that users rely on. Whoever changes this file changes the interface, and says so in the CHANGELOG."""

import importlib
import inspect

import pytest

import routellm_core

PUBLIC = {
    "routellm_core": [
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
    ],
    "routellm_core.checkpoints": ["FORMAT_VERSION", "Checkpoint", "CheckpointConfig", "EmbedderSpec"],
    "routellm_core.embedders": ["Embedder", "as_embedder"],
    "routellm_core.evaluation": [
        "CallsSaved",
        "CostQualityCurve",
        "Interval",
        "PairBootstrap",
        "average_improvement_in_quality",
        "average_performance_gap_recovered",
        "bootstrap_interval",
        "bootstrap_pair",
        "call_performance_threshold",
        "calls_saved",
        "cost_saving_ratio",
        "performance_gap_recovered",
        "quality_hull",
    ],
}


@pytest.mark.parametrize("module", PUBLIC)
def test_names_are_these(module):
    loaded = importlib.import_module(module)
    assert sorted(loaded.__all__) == sorted(PUBLIC[module])
    for name in PUBLIC[module]:
        assert hasattr(loaded, name)


@pytest.mark.parametrize(
    "path",
    [
        "errors:ConfigurationError",
        "errors:InvalidThresholdError",
        "errors:UnknownRouterError",
        "errors:RouterUnavailableError",
        "errors:UnknownModelError",
        "errors:MissingDependencyError",
        "errors:CalibrationError",
        "errors:EmbeddingError",
        "errors:CheckpointError",
        "errors:CheckpointNotFoundError",
        "errors:CheckpointAccessError",
        "errors:CheckpointDownloadError",
        "errors:CheckpointFormatError",
        "errors:EmbedderMismatchError",
        "errors:RoutingError",
        "errors:ScoringError",
        "errors:ScoringTimeoutError",
        "errors:NoCandidateError",
        "routers.default:DefaultRouter",
        "routers.random:RandomRouter",
        "routers.length:LengthRouter",
        "routers.matrix_factorization:MatrixFactorizationRouter",
        "routers.matrix_factorization:MatrixFactorizationPool",
        "routers.pretrained:PretrainedRouter",
        "embedders.bundled:BundledEmbedder",
        "embedders.cache:CachedEmbedder",
        "embedders.openai:OpenAIEmbedder",
        "embedders.sentence_transformers:SentenceTransformerEmbedder",
        "registry:load_router",
        "registry:router_names",
        "testing:RouterContract",
        "testing:ConstantRouter",
        "testing:FunctionRouter",
        "testing:AsyncFunctionRouter",
    ],
)
def test_modules_keep_their_names(path):
    module, name = path.split(":")
    assert hasattr(importlib.import_module(f"routellm_core.{module}"), name)


def test_every_public_name_is_documented():
    for module in PUBLIC:
        loaded = importlib.import_module(module)
        for name in PUBLIC[module]:
            if name.isidentifier() and callable(getattr(loaded, name)):
                assert inspect.getdoc(getattr(loaded, name)), f"{module}.{name}"


def test_errors_keep_their_builtin_bases():
    from routellm_core import errors

    for name, base in {
        "ConfigurationError": ValueError,
        "MissingDependencyError": ImportError,
        "CalibrationError": ValueError,
        "EmbeddingError": RuntimeError,
        "CheckpointNotFoundError": FileNotFoundError,
        "CheckpointAccessError": PermissionError,
        "CheckpointDownloadError": OSError,
        "CheckpointFormatError": ValueError,
        "EmbedderMismatchError": ValueError,
        "RoutingError": RuntimeError,
        "ScoringTimeoutError": TimeoutError,
    }.items():
        assert issubclass(getattr(errors, name), base)
        assert issubclass(getattr(errors, name), routellm_core.RouteLLMError)


def test_version():
    from importlib.metadata import version

    assert routellm_core.__version__ == version("routellm-plugins")
