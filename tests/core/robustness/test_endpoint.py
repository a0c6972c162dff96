"""Models behind OpenAI-compatible endpoints, through the unmodified client."""

import math
from dataclasses import replace

import openai
import pytest

from routellm_core.errors import ConfigurationError
from routellm_core.robustness.endpoint import EndpointError, EndpointModel, likeliest
from routellm_core.robustness.items import Item
from routellm_core.robustness.perturbations import replace_symbols
from routellm_core.robustness.reading import read_answer
from support.logprob_server import LogprobServer
from support.openai_server import Behaviour, OpenAIServer

ITEMS = [Item(f"i{i}", f"Question {i}?", ("one fox", "two dogs", "three", "four"), i % 4) for i in range(8)]


def client(server):
    return openai.OpenAI(base_url=server.url, api_key="test", max_retries=0)


def test_top_log_probabilities():
    def top(prompt):
        right = "ABCD"[int(prompt[len("Question ")]) % 4]
        return [("The", math.log(0.4)), (f" {right}", math.log(0.2)), ("A", math.log(0.15)), ("B", math.log(0.1))]

    done = []
    with LogprobServer(top) as server, client(server) as asked:
        answers = EndpointModel(asked, "small", concurrency=3).answer(ITEMS, progress=lambda *at: done.append(at))
    assert answers.chosen == (0, 1, 2, 3, 0, 1, 2, 3)
    assert (answers.how, answers.unparsable, answers.accuracy) == ("symbol, top log-probabilities", 0, 1.0)
    assert done[-1] == (8, 8)
    assert len(server.bodies) == 8
    assert {body["max_tokens"] for body in server.bodies} == {1}
    assert server.bodies[0]["messages"][0]["content"] == ITEMS[0].prompt


def test_a_server_without_log_probabilities_is_read_as_text():
    with OpenAIServer(behaviours={"small": Behaviour(text="The answer is (C).")}) as server, client(server) as asked:
        answers = EndpointModel(asked, "small").answer(ITEMS)
        assert answers.chosen == (2,) * 8
        assert answers.how == "symbol, generated text"
        assert len(server.requests) == 9  # one to find out
        with pytest.raises(ConfigurationError, match="'small' gives no log-probabilities: take reading='text'"):
            EndpointModel(asked, "small", reading="log-probabilities").answer(ITEMS)
        server.behaviours["small"] = Behaviour(text="I would rather not say.")
        silent = EndpointModel(asked, "small", reading="text").answer(ITEMS)
    assert (silent.unparsable, silent.accuracy) == (8, 0.0)


@pytest.mark.parametrize("status", [400, 403, 404, 422, 501])
def test_a_model_that_refuses_to_give_log_probabilities_is_read_as_text(status):
    behaviour = Behaviour(status=status, failures=2, text="B")
    with OpenAIServer(behaviours={"small": behaviour}) as server, client(server) as asked:
        answers = EndpointModel(asked, "small").answer(ITEMS)
    assert (answers.chosen, answers.how) == ((1,) * 8, "symbol, generated text")


def test_too_many_calls_say_nothing_about_log_probabilities():
    behaviour = Behaviour(status=429, failures=1, text="B")
    with (
        OpenAIServer(behaviours={"small": behaviour}) as server,
        client(server) as asked,
        pytest.raises(EndpointError, match="status 429"),
    ):
        EndpointModel(asked, "small").answer(ITEMS)


def test_five_log_probabilities_will_do():
    with LogprobServer(lambda _: [("B", -0.1)], most=5) as server, client(server) as asked:
        answers = EndpointModel(asked, "small").answer(ITEMS)
    assert (answers.chosen, answers.how) == ((1,) * 8, "symbol, top log-probabilities")
    assert [body["top_logprobs"] for body in server.bodies] == [20, *[5] * 8]


@pytest.mark.parametrize("reading", ["auto", "text"])
def test_the_limit_of_tokens_goes_by_its_newer_name_where_the_older_is_refused(reading):
    with LogprobServer(lambda _: [("B", -0.1)], refused="max_tokens") as server, client(server) as asked:
        answers = EndpointModel(asked, "small", reading=reading, concurrency=1).answer(ITEMS)
    assert answers.chosen == (1,) * 8
    assert ["max_completion_tokens" in body for body in server.bodies] == [False, *[True] * 8]


def test_a_model_that_refuses_every_call_cannot_be_asked():
    behaviour = Behaviour(status=400)
    with (
        OpenAIServer(behaviours={"small": behaviour}) as server,
        client(server) as asked,
        pytest.raises(EndpointError, match=r"BadRequestError \(status 400\)"),
    ):
        EndpointModel(asked, "small").answer(ITEMS)


@pytest.mark.parametrize("rule", ["hybrid", "cloze"])
def test_says_which_rule_cannot_be_had(rule):
    with pytest.raises(ConfigurationError, match=f"rule '{rule}' cannot be had of 'small'.*or a local model"):
        EndpointModel(None, "small").answer(ITEMS, rule=rule)


def test_a_failure_names_neither_key_nor_prompt():
    with (
        OpenAIServer(behaviours={"small": Behaviour(status=401)}) as server,
        client(server) as asked,
        pytest.raises(EndpointError) as caught,
    ):
        EndpointModel(asked, "small").answer(ITEMS)
    assert str(caught.value) == "model 'small' cannot be asked: AuthenticationError (status 401)"


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        ({"A": -1.0, "B": -2.0}, 0),
        ({"A": math.log(0.3), "B": math.log(0.2), " B": math.log(0.2)}, 1),  # together
        ({"(D": -0.1, "A": -3.0}, 3),
        ({"The": -0.1, "a": -1.0}, None),
    ],
)
def test_likeliest(top, expected):
    assert likeliest(ITEMS[0], top) == expected


def test_likeliest_of_other_symbols():
    assert likeliest(replace_symbols(ITEMS[0]), {" &": -1.0, "$": -2.0}) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("B", 1), ("(B)", 1), ("The answer is C.", 2), ("Two dogs.", 1), ("two", None), ("", None), ("E", None),
        ("A or B", None),
    ],
)  # fmt: skip
def test_read_answer(text, expected):
    assert read_answer(ITEMS[0], text) == expected


@pytest.mark.parametrize(("text", "expected"), [("&", 1), ("#. three", 2), ("three", 2), ("$$", None), ("B", None)])
def test_read_answer_with_other_symbols(text, expected):
    assert read_answer(replace_symbols(ITEMS[0]), text) == expected


@pytest.mark.parametrize(
    ("symbols", "text", "expected"),
    [
        ("abcd", "B", 1), ("abcd", "The answer is b.", 1), ("abcd", "(b)", 1), ("abcd", "b) two dogs", 1), ("abcd", "**b**", 1),
        ("abcd", "a dog, surely", None), ("abcd", "a good guess is d", None), ("abcd", "b\n\nA dog barks.", 1),
        ("1234", "2", 1), ("1234", "Answer: 2", 1), ("1234", "\\boxed{2}", 1), ("1234", "2. two dogs", 1),
        ("1234", "1 of these is right: 2", None), ("1234", "2.5", None), ("1234", "The answer is 2.5", None),
        ("1234", "1. one fox\n2. two dogs\nThe answer is 3.", 2), ("1234", "1. one fox\n2. two dogs", None),
        ("$&#@", "The answer is &", 1), ("$&#@", "Answer: &", 1), ("$&#@", "**&**", 1), ("$&#@", "$5", None),
        ("ABCD", "Option B", 1), ("ABCD", "It is B.", 1), ("ABCD", "b", 1), ("ABCD", "It is a fox.", None),
        ("ABCD", "The answer is two dogs.", 1), ("ABCD", "Options: A or B", None), ("ABCD", "It is not option B.", None),
        ("ABab", "a", 2), ("ABab", "The answer is B.", 1), ("ABCD", "C is wrong, so B", None), ("*+=?", "*", 0),
    ],
)  # fmt: skip
def test_read_answer_of_other_forms(symbols, text, expected):
    assert read_answer(replace(ITEMS[0], symbols=tuple(symbols)), text) == expected


def test_a_text_is_that_of_one_choice():
    signs = Item("n", "x?", ("-1", "+1", "1", "1%"), 0)
    assert [read_answer(signs, text) for text in ("-1", "1", "+1", "1%", "2")] == [0, 2, 1, 3, None]


def test_refuses():
    with pytest.raises(ConfigurationError, match="reading must be one of auto, log-probabilities, text, not 'both'"):
        EndpointModel(None, "m", reading="both")
    with pytest.raises(ConfigurationError, match="1 or more, not 0 and 8"):
        EndpointModel(None, "m", max_tokens=0)
