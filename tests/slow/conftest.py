"""The two real models of `make demo`, served on loopback for the tests that need them."""

import importlib.util
import os
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "local_models.py"


def _load_script():
    spec = importlib.util.spec_from_file_location("local_models", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["local_models"] = module
    spec.loader.exec_module(module)
    return module


local_models = _load_script()


def _missing() -> list[str]:
    modules = ["torch", "transformers", "accelerate", "gguf", "fastapi", "uvicorn", "langchain_openai", "llama_index"]
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    try:
        distribution(local_models.GGUF_PACKAGE)
    except PackageNotFoundError:
        missing.append(local_models.GGUF_PACKAGE)
    return missing


@pytest.fixture(scope="session", autouse=True)
def _demo_packages():
    if missing := _missing():
        reason = f"the local models need packages that are not installed: {', '.join(missing)}"
        if os.environ.get("ROUTELLM_REQUIRE_DEMO") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def cache(_demo_packages, tmp_path_factory) -> Path:
    """A fresh folder, unless ROUTELLM_DEMO_CACHE names one to keep."""
    kept = os.environ.get("ROUTELLM_DEMO_CACHE")
    return Path(kept) if kept else tmp_path_factory.mktemp("local-models")


@pytest.fixture(scope="session")
def folders(cache):
    return local_models.prepare(cache)


@pytest.fixture(scope="session")
def models(folders):
    with local_models.serve(*folders) as running:
        yield running
