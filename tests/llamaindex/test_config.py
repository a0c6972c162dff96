"""One file for both frameworks: models, routers and chains."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import SummaryIndex
from llama_index.core.agent.workflow import AgentWorkflow, ReActAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.schema import TextNode

from routellm_core import routing
from routellm_core.config import load_config
from routellm_core.errors import ConfigurationError, MissingDependencyError, NoCandidateError, UnknownTargetError
from routellm_llamaindex import RoutedLLM
from support.llamaindex_models import PlainLLM, ToolLLM

TEXT = """\
models:
  large: {price: {input: 2.5, output: 10}}
  medium: {price: 1.0}
  small: {price: 0.1, capabilities: {images: false, context_window: 1000}}
chains:
  support: {strong: large, weak: small, router: length, threshold: 0.0}
  summarise: {strong: large, weak: medium, router: length, threshold: 1.0, tools_route: strong}
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str = TEXT) -> Path:
        path = tmp_path / "routing.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def models(**changes: Any) -> dict[str, Any]:
    return {name: ToolLLM(name) for name in ("large", "medium", "small")} | changes


def test_routes_among_the_models_of_its_chain(write) -> None:
    llm = RoutedLLM.from_config(write(), chain="support", models=models(), fallback=True)
    assert set(llm.candidates) == {"large", "medium", "small"}
    assert llm.fallback
    assert llm.complete("x").text == "large says hi"
    assert llm.metadata.context_window == 1000, "of the configuration"
    assert RoutedLLM.from_config(write(), chain="summarise", models=models()).complete("x").text == "medium says hi"


async def test_a_block_chooses_the_chain_inside_query_engines(write) -> None:
    llm = RoutedLLM.from_config(write(), chain="support", models=models())
    engine = SummaryIndex(nodes=[TextNode(text="Talc.")]).as_query_engine(llm=llm)
    with routing(chain="summarise"):
        assert str(await engine.aquery("x")) == "medium says hi"
    assert str(await engine.aquery("x")) == "large says hi"

    async def ask(number: int) -> str:
        with routing(chain=("support", "summarise")[number % 2]):
            return str(await engine.aquery(f"question {number}"))

    expected = ["large says hi", "medium says hi"] * 20
    assert await asyncio.gather(*map(ask, range(40))) == expected
    with routing(chain="sumarise"), pytest.raises(UnknownTargetError, match=r"'sumarise'.*support, summarise"):
        await engine.aquery("x")


def test_constraints_hold_in_every_chain_and_after_a_reload(write) -> None:
    llm = RoutedLLM.from_config(write(), chain="support", models=models(large=PlainLLM("large")))
    path = write(TEXT.replace("threshold: 0.0", "threshold: 1.0"))
    for choice in ("large", "small"):
        assert llm.complete("x").additional_kwargs["routellm"]["choice"] == choice
        assert llm.complete("long " * 2000).additional_kwargs["routellm"]["choice"] == "large"
        assert llm.engine.capabilities["small"].context_window == 1000
        with routing(chain="summarise", route="strong"):
            record = llm.decide("x").to_dict()
        assert record["choice"] == "large"
        llm.engine.reload(load_config(path))


def double(n: int) -> int:
    """Double a number."""
    return 2 * n


# What LlamaIndex's own agents do: read every attribute, deprecated ones too.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211")
@pytest.mark.parametrize("by", ["chain", "block"])
async def test_a_chain_without_tools_beside_one_with_tools(write, by: str) -> None:
    plain = models(small=PlainLLM("small"), medium=PlainLLM("medium"))
    text = TEXT.replace("summarise: {strong: large", "summarise: {strong: small")
    llm = RoutedLLM.from_config(write(text), chain="summarise" if by == "chain" else "support", models=plain)
    after_tools = [ChatMessage(role="user", content="x"), ChatMessage(role="tool", content="42")]
    with routing(chain="summarise"):
        assert not llm.metadata.is_function_calling_model
        (agent,) = AgentWorkflow.from_tools_or_functions([double], llm=llm).agents.values()
        assert isinstance(agent, ReActAgent)
        assert llm.chat(after_tools).message.content == "medium says hi"
        with pytest.raises(NoCandidateError, match=r"medium: cannot call tools; small: cannot call tools$"):
            llm.chat_with_tools([], "x")
    with routing(chain="support"):
        assert llm.metadata.is_function_calling_model
        assert llm.chat(after_tools).message.content == "large says hi"
        assert llm.chat_with_tools([], "x").additional_kwargs["routellm"]["choice"] == "large"
    assert llm.metadata.context_window == 1000, "prompts are packed for whatever chain a block may name"


def test_makes_the_models_of_the_file(write) -> None:
    pytest.importorskip("llama_index.llms.openai_like")
    text = TEXT.replace(
        "large: {", "large: {provider: openai, model: gpt-4.1, arguments: {temperature: 0.5, api_key: sk-x}, "
    )
    text = text.replace(
        "medium: {",
        "medium: {provider: openai, model: own, arguments: {base_url: 'http://127.0.0.1:9/v1', api_key: sk-x}, ",
    )
    with pytest.warns(UserWarning, match="context window of 'medium' is 3900"):
        llm = RoutedLLM.from_config(write(text), chain="support", models={"small": ToolLLM("small")})
    large, medium = llm.candidates["large"], llm.candidates["medium"]
    assert (type(large).__name__, large.model, large.temperature) == ("OpenAI", "gpt-4.1", 0.5)
    assert (type(medium).__name__, medium.api_base) == ("OpenAILike", "http://127.0.0.1:9/v1")
    assert medium.metadata.is_chat_model


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("", "'large' has no provider and model in the file"),
        ("provider: openai, ", "'large' has no provider and model in the file"),
        ("provider: opanai, model: x, ", "provider 'opanai' is not known here; known are openai"),
        ("provider: openai, model: gpt-4.1, arguments: {tempratur: 1}, ", "OpenAI has no argument 'tempratur'"),
        ("provider: openai, model: gpt-4.1, arguments: {temperature: sk-x}, ", "OpenAI refuses its arguments: temp"),
    ],
)
def test_a_model_that_cannot_be_made_is_refused(write, fields: str, message: str) -> None:
    pytest.importorskip("llama_index.llms.openai")
    path = write(TEXT.replace("large: {", f"large: {{{fields}"))
    given = models()
    del given["large"]
    with pytest.raises(ConfigurationError, match=message) as caught:
        RoutedLLM.from_config(path, chain="support", models=given)
    assert "sk-x" not in str(caught.value)


def test_a_missing_integration_says_how_to_install_it(write) -> None:
    path = write(TEXT.replace("large: {", "large: {provider: mistralai, model: x, "))
    given = models()
    del given["large"]
    with pytest.raises(MissingDependencyError, match="pip install llama-index-llms-mistralai"):
        RoutedLLM.from_config(path, chain="support", models=given)


def test_wrong_names_are_refused(write) -> None:
    with pytest.raises(ConfigurationError, match=r"chain='other'.*support, summarise"):
        RoutedLLM.from_config(write(), chain="other", models=models())
    with pytest.raises(ConfigurationError, match=r"models= names 'lrge'; .*has large, medium, small"):
        RoutedLLM.from_config(write(), chain="support", models=models(lrge=ToolLLM("x")))
    with pytest.raises(ConfigurationError, match=r"from_config does not take threshold: the file says it"):
        RoutedLLM.from_config(write(), chain="support", models=models(), threshold=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"capabilities": {"weak": {"tools": True}}}, r"of 'weak' must be Capabilities, .*not \{'tools': True\}"),
        ({"capabilities": ["weak"]}, r"capabilities must map names .* not list"),
        ({"fallback": "yes please"}, "fallback must be True or False, not 'yes please'"),
        ({"sticky": "no"}, "sticky must be True or False, not 'no'"),
        ({"emit_events": 1}, "emit_events must be True or False, not 1"),
    ],
)
def test_wrong_arguments_are_refused(make_pair, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make_pair(**options)


def test_candidates_without_names_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"candidates must map names to models.*not list") as caught:
        RoutedLLM(candidates=[ToolLLM("a"), ToolLLM("b")])  # type: ignore[arg-type]
    assert "sk-very-secret" not in str(caught.value)


@pytest.mark.parametrize("prompt", [5, [5], None])
async def test_what_is_no_prompt_is_refused(pair, prompt: Any) -> None:
    for call in (pair.llm.decide, pair.llm.chat):
        with pytest.raises(ConfigurationError, match=r"a text, a ChatMessage or a list of them, not as (int|NoneType)"):
            call(prompt)
    with pytest.raises(ConfigurationError, match="not as"):
        await pair.llm.adecide(prompt)
