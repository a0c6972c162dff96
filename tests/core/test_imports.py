"""What importing costs and what it must not do. Each test has a process of its own."""

import json
import subprocess
import sys

import pytest

HEAVY = (
    "torch", "transformers", "openai", "langchain_core", "llama_index", "huggingface_hub", "model2vec", "pydantic", "yaml",
    "typer", "rich", "safetensors", "pandas", "sklearn", "lmdb", "tiktoken", "sentence_transformers",
)  # fmt: skip

BLOCK = """
import sys
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, path=None, target=None: (
    None if name.partition(".")[0] in {blocked!r} else find(name, path, target)
)
"""


def run(code: str, *, blocked: tuple[str, ...] = (), **environment: str) -> str:
    """Run code in a fresh interpreter in which some packages are not installed."""
    command = [sys.executable, "-W", "error", "-c", BLOCK.format(blocked=set(blocked)) + code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_fast():
    code = """
import time
import numpy
start = time.perf_counter()
import routellm_core
print(time.perf_counter() - start)
"""
    # The least of several: on a busy machine the others measure the neighbours.
    seconds = []
    for _ in range(6):
        seconds.append(float(run(code)))
        if seconds[-1] < 0.2:
            break
    assert min(seconds) < 0.2


@pytest.mark.parametrize("module", ["routellm_core", "routellm_core.evaluation", "routellm_core.checkpoints"])
def test_import_loads_nothing_heavy(module):
    loaded = json.loads(run(f"import {module}, json; print(json.dumps(list(sys.modules)))"))
    assert not {name.partition(".")[0] for name in loaded} & set(HEAVY)


def test_import_works_with_numpy_alone():
    run("import routellm_core, routellm_core.evaluation, routellm_core.testing", blocked=HEAVY)


def test_nothing_happens_at_import():
    code = """
import os, logging, random, socket, threading, warnings
import numpy as np

def refuse(*args, **kwargs):
    raise AssertionError("a socket at import")

socket.socket.__init__ = refuse
def state():
    return (
        dict(os.environ), os.getcwd(), [*logging.root.handlers], logging.root.level, threading.active_count(),
        random.getstate(), repr(np.random.get_state()), np.geterr(), [*warnings.filters], sys.excepthook,
        sorted(name for name in os.listdir(".")),
    )
before = state()
import routellm_core, routellm_core.registry, routellm_core.routers.default, routellm_core.routers.matrix_factorization
import routellm_core.embedders.bundled, routellm_core.embedders.cache, routellm_core.embedders.sentence_transformers
import routellm_core.checkpoints.hub, routellm_core.testing
assert state() == before
for name in logging.root.manager.loggerDict:
    if name.startswith("routellm"):
        assert not logging.getLogger(name).handlers, name
"""
    run(code)


def test_library_logs_nothing_unless_asked():
    code = "from routellm_core import RoutingEngine; RoutingEngine('random').decide('Hi!')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def refusal(code: str, *, blocked: tuple[str, ...]) -> str:
    """What the error says that some code must end with."""
    indented = "\n".join("    " + line for line in code.splitlines())
    return run(
        f"""
from routellm_core.errors import MissingDependencyError
try:
{indented}
except MissingDependencyError as error:
    assert isinstance(error, ImportError)
    print(error)
else:
    raise AssertionError("no error")
""",
        blocked=blocked,
    ).strip()


OPENAI_FROM_A_CHECKPOINT = """
from routellm_core.embedders.factory import embedder_for
embedder_for("openai:text-embedding-3-small", 1536, origin="a checkpoint")
"""
SENTENCE_TRANSFORMERS = """
from routellm_core.embedders.sentence_transformers import SentenceTransformerEmbedder
SentenceTransformerEmbedder()
"""
CACHE = """
import tempfile
from routellm_core.embedders.bundled import BundledEmbedder
from routellm_core.embedders.cache import CachedEmbedder
CachedEmbedder(BundledEmbedder(), directory=tempfile.mkdtemp())
"""
PARQUET = """
import pathlib, tempfile
from routellm_core.cli.prompts import read_prompts
path = pathlib.Path(tempfile.mkdtemp(), "x.parquet")
path.touch()
read_prompts([], str(path), "prompt")
"""


@pytest.mark.parametrize(
    ("code", "blocked", "what", "extra"),
    [
        ("import routellm_core.embedders.openai", ("openai",), "The OpenAI embedder", "openai"),
        (OPENAI_FROM_A_CHECKPOINT, ("openai",), "The OpenAI embedder", "openai"),
        (
            SENTENCE_TRANSFORMERS,
            ("sentence_transformers",),
            "The sentence-transformers embedder",
            "sentence-transformers",
        ),
        (CACHE, ("lmdb",), "An embedding cache on disk", "cache"),
        (PARQUET, ("pyarrow",), "Reading and writing .parquet", "eval"),
    ],
    ids=["openai", "openai from a checkpoint", "sentence-transformers", "cache", "parquet"],
)
def test_missing_extra_names_the_command(code, blocked, what, extra):
    assert (
        refusal(code, blocked=blocked) == f'{what} needs the extra {extra!r}: pip install "routellm-plugins[{extra}]"'
    )


def test_mf_by_name_without_openai_says_how_and_what_works_instead(tmp_path):
    code = f"""
import json
from routellm_core import load_router
from routellm_core.errors import RouterUnavailableError
import numpy as np
from safetensors.numpy import save_file
from unittest.mock import patch
save_file({{"P.weight": np.ones((64, 8), "f4"), "text_proj.0.weight": np.ones((8, 1536), "f4"),
           "classifier.0.weight": np.ones((1, 8), "f4")}}, {str(tmp_path)!r} + "/model.safetensors")
config = dict(dim=8, num_models=64, text_dim=1536, num_classes=1, use_proj=True)
open({str(tmp_path)!r} + "/config.json", "w").write(json.dumps(config))
from pathlib import Path
with patch("routellm_core.routers.pretrained.download_checkpoint", lambda *_, **__: Path({str(tmp_path)!r})):
    try:
        load_router("mf")
    except RouterUnavailableError as error:
        print(error)
"""
    text = run(code, blocked=("openai",))
    assert 'pip install "routellm-plugins[openai]"' in text
    assert "'default' needs no key" in text


@pytest.mark.parametrize(
    ("module", "blocked", "extra"),
    [
        ("routellm_langchain", ("langchain_core", "langchain", "langgraph"), "langchain"),
        ("routellm_llamaindex", ("llama_index",), "llamaindex"),
    ],
)
def test_adapter_without_its_framework_names_the_command(module, blocked, extra):
    assert f'pip install "routellm-plugins[{extra}]"' in refusal(f"import {module}", blocked=blocked)


def test_the_core_works_without_any_extra():
    optional = ("torch", "transformers", "openai", "tiktoken", "langchain_core", "langchain", "llama_index", "lmdb")
    code = """
from routellm_core import RoutingEngine
assert RoutingEngine().decide("Prove it.").router == "default"
import routellm_core.cli
"""
    run(code, blocked=(*optional, "pandas", "sklearn", "pyarrow", "sentence_transformers", "matplotlib"))
