"""The package as others see it: what importing it needs and does, its types, and that it can be pickled."""

import pickle
import subprocess
import sys
import typing

import pytest
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableBinding

import routellm_langchain
from routellm_langchain import RoutedChatModel


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_without_langchain_core_it_says_how_to_install_it():
    code = """
import sys
sys.modules["langchain_core"] = None
try:
    import routellm_langchain
except ImportError as error:
    print(type(error).__name__, error)
"""
    assert run(code) == (
        "MissingDependencyError routellm_langchain needs the extra 'langchain': pip install \"routellm-plugins[langchain]\""
    )


def test_importing_it_loads_nothing_heavy():
    heavy = {"langchain", "langgraph", "openai", "torch", "transformers", "llama_index"}
    loaded = run("import sys, routellm_langchain; print(' '.join({name.split('.')[0] for name in sys.modules}))")
    assert not heavy & set(loaded.split())


def test_public_names():
    assert routellm_langchain.__all__ == sorted(routellm_langchain.__all__)
    assert all(hasattr(routellm_langchain, name) for name in routellm_langchain.__all__)


def test_annotations_resolve_at_run_time():
    # RunnableWithFallbacks hands methods on only where it can read this annotation.
    hints = typing.get_type_hints(RoutedChatModel.bind_tools)
    assert hints["return"] == Runnable[LanguageModelInput, AIMessage]
    assert typing.get_type_hints(RoutedChatModel.with_structured_output)["return"]


def test_tools_reach_a_routed_model_inside_fallbacks(make_routed):
    def ping(x: int) -> int:
        """A tool."""
        return x

    bound = make_routed().with_fallbacks([make_routed()]).bind_tools([ping])
    assert bound.invoke("hard 2").tool_calls[0]["args"] == {"x": 2}
    assert isinstance(make_routed().bind_tools([ping]), RunnableBinding)


def test_pickled_it_routes_the_same(make_routed):
    routed = make_routed(temperature=0.2)
    copied = pickle.loads(pickle.dumps(routed))
    assert copied.invoke("hard").text == "I am strong-model"
    assert copied.with_threshold(0.95).invoke("hard").text == "I am weak-model"
    assert copied.engine.threshold == 0.5
    assert copied.routing.engine is copied.engine


def test_a_copy_of_a_changed_field_follows_it(routed):
    assert routed.model_copy(update={"threshold": 0.05}).invoke("easy").text == "I am strong-model"
    assert routed.model_copy(update={"config_prefix": "a"}).config_specs[0].id == "a_routellm_threshold"


def test_its_own_generate_hook_says_what_to_call(routed):
    with pytest.raises(NotImplementedError, match="call invoke, stream, batch or generate"):
        routed._generate([])
