"""The decision alone, as a runnable."""

from operator import itemgetter

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableBranch, RunnableLambda
from langgraph.graph import END, START, MessagesState, StateGraph

from routellm_core import RoutingDecision, RoutingEngine
from routellm_core.errors import ConfigurationError
from routellm_core.testing import FunctionRouter
from routellm_langchain import RoutingRunnable
from support.runs import RunRecorder


@pytest.fixture
def scorer():
    return FunctionRouter(lambda prompt: 0.9 if "hard" in prompt else 0.1)


@pytest.fixture
def routing(scorer):
    return RoutingRunnable(scorer, threshold=0.5)


async def test_it_returns_a_decision(routing):
    decision = routing.invoke("a hard one")
    assert isinstance(decision, RoutingDecision)
    assert decision.choice == "strong"
    assert (await routing.ainvoke([HumanMessage("easy")])).choice == "weak"
    assert routing.invoke("easy", {"configurable": {"routellm_threshold": 0.05}}).choice == "strong"


async def test_a_batch_is_one_scoring(routing, scorer):
    config = {"configurable": {"routellm_threshold": 0.05}}
    assert [d.choice for d in routing.batch(["hard", "easy"], [{}, {}])] == ["strong", "weak"]
    assert [d.choice for d in await routing.abatch(["hard 2", "easy 2"], [{}, config])] == ["strong", "strong"]
    assert scorer.calls == [("hard", "easy"), ("hard 2", "easy 2")]
    assert routing.batch([]) == await routing.abatch([]) == []


@pytest.mark.parametrize("how", ["batch", "abatch"])
async def test_errors_of_a_batch(routing, how):
    async def run(**kwargs):
        result = getattr(routing, how)(["hard", 7, "easy"], **kwargs)
        return result if isinstance(result, list) else await result

    with pytest.raises(ConfigurationError, match="not int"):
        await run()
    first, second, third = await run(return_exceptions=True)
    assert (first.choice, type(second), third.choice) == ("strong", ConfigurationError, "weak")


def test_its_run(routing):
    recorder = RunRecorder()
    routing.invoke("hard", {"callbacks": [recorder], "run_name": "which"})
    (run,) = recorder.runs
    assert (run.kind, run.name, run.outputs.choice, run.ended) == ("chain", "which", "strong", 1)


def test_in_a_branch(routing):
    branch = RunnableBranch(
        (lambda decision: decision.choice == "strong", RunnableLambda(lambda _: "think")),
        RunnableLambda(lambda _: "say"),
    )
    assert (routing | branch).invoke("a hard one") == "think"
    assert (itemgetter("question") | routing | branch).invoke({"question": "easy"}) == "say"


def test_as_a_conditional_edge(routing):
    graph = StateGraph(MessagesState)
    for name in ("strong", "weak"):
        graph.add_node(name, lambda _, name=name: {"messages": [("ai", name)]})
        graph.add_edge(name, END)
    graph.add_conditional_edges(START, lambda state: routing.invoke(state["messages"]).choice, ["strong", "weak"])
    assert graph.compile().invoke({"messages": [("user", "a hard one")]})["messages"][-1].text == "strong"


def test_a_ready_made_engine(scorer):
    engine = RoutingEngine(scorer, threshold=0.5)
    assert RoutingRunnable(engine=engine).engine is engine
    assert RoutingRunnable(engine=engine, threshold=0.05).invoke("easy").choice == "strong"
    with pytest.raises(ConfigurationError, match="already has its own router"):
        RoutingRunnable(scorer, engine=engine)


def test_errors_surface_at_construction():
    with pytest.raises(ConfigurationError, match="no registered name"):
        RoutingRunnable("no-such-router")
    with pytest.raises(ConfigurationError, match="on_router_error"):
        RoutingRunnable("random", on_router_error="shrug")
