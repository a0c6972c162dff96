"""Making a benchmark with the real client against a server on loopback."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from routellm_core.errors import ConfigurationError
from routellm_core.evaluation.generate import Answer, ChatModel, Question, read_answers, run_benchmark
from routellm_core.preferences.outcomes import read_outcomes, write_outcomes
from routellm_core.pricing import Price
from support.openai_server import Behaviour, OpenAIServer

pytest.importorskip("openai")

QUESTIONS = [
    Question(id="a", prompt="What is 6 times 7?", reference="42", group="times"),
    Question(id="b", prompt="What is 1 plus 1?", reference="2", group="plus"),
    Question(id="c", prompt="What is 40 plus 2?", reference="42", group="plus"),
]


@pytest.fixture
def server():
    with OpenAIServer() as running:
        running.behaviours["right"] = Behaviour(text="The answer is 42.")
        running.behaviours["wrong"] = Behaviour(text="The answer is 41.")
        yield running


@pytest.fixture
def run(server, tmp_path):
    def start(models=("right", "wrong"), questions=QUESTIONS, **options):
        chat = [ChatModel(name=m, model=m, base_url=server.url, price=Price(input=1, output=2)) for m in models]
        options = {"grader": "number", "api_key": "sk-secret"} | options
        return run_benchmark(questions, chat, tmp_path / "answers.jsonl", **options)

    return start


def test_answers_are_asked_kept_and_graded(run, server, tmp_path):
    told = []
    made = run(temperature=0.5, max_tokens=20, instruction="Be short.", progress=lambda *x: told.append(x))
    assert made.table.models == ("right", "wrong")
    assert made.table.scores.tolist() == [[1, 0], [0, 0], [1, 0]]
    assert made.table.prompts[0] == "What is 6 times 7?"
    assert made.table.groups == ("times", "plus", "plus")
    assert made.table.prompt_ids == ("a", "b", "c")
    assert len(server.requests) == 6
    body = server.requests[0].body
    assert (body["temperature"], body["max_tokens"], len(body["messages"])) == (0.5, 20, 2)
    assert told[-1] == (6, 6)
    assert made.counts["right"].answers == 3
    assert made.counts["right"].truncated == made.counts["right"].unparsable == made.counts["right"].failed == 0
    assert np.isfinite(made.table.tokens_out).all()
    np.testing.assert_allclose(made.table.cost_usd, (made.table.tokens_in + 2 * made.table.tokens_out) / 1e6)
    told_by_table = made.table.provenance
    assert (told_by_table["temperature"], told_by_table["samples"]) == (0.5, 1)
    assert "Be short." in told_by_table["prompt template"]
    assert "sk-secret" not in (tmp_path / "answers.jsonl").read_text() + str(told_by_table)
    again = read_outcomes(write_outcomes(made.table, tmp_path / "table.jsonl"))
    np.testing.assert_array_equal(again.scores, made.table.scores)


def test_nothing_is_asked_twice(run, server):
    first = run()
    server.requests.clear()
    second = run()
    assert server.requests == []
    np.testing.assert_array_equal(first.table.scores, second.table.scores)
    run(questions=[*QUESTIONS, Question(id="d", prompt="And?", reference="1")])
    assert server.models_asked() == ["right", "wrong"] or sorted(server.models_asked()) == ["right", "wrong"]


def test_broken_run_goes_on(run, server, tmp_path):
    run()
    file = tmp_path / "answers.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:4]) + lines[4][: len(lines[4]) // 2])  # broken off while the fifth was written
    server.requests.clear()
    made = run()
    assert len(server.requests) == 2
    assert made.table.scores.tolist() == [[1, 0], [0, 0], [1, 0]]
    assert len(read_answers(file)) == 6


@pytest.mark.parametrize("change", [{"temperature": 1.0}, {"instruction": "Think."}, {"max_tokens": 5}])
def test_another_way_of_asking_is_asked_again(run, server, change):
    run()
    server.requests.clear()
    run(**change)
    assert len(server.requests) == 6


def test_changed_prompt_under_the_same_id_is_asked_again(run, server):
    run()
    server.requests.clear()
    changed = [Question(id="a", prompt="What is 6 times seven?", reference="42"), *QUESTIONS[1:]]
    run(questions=changed)
    assert len(server.requests) == 2
    server.requests.clear()
    run(questions=[Question(id="a", prompt=changed[0].prompt, reference="43"), *QUESTIONS[1:]])
    assert server.requests == []  # another reference is only graded anew


def test_another_model_under_the_same_name_is_asked_again(run, server, tmp_path):
    run(models=["right"])
    served = ChatModel(name="right", model="wrong", base_url=server.url)
    made = run_benchmark(QUESTIONS, [served], tmp_path / "answers.jsonl", grader="number", api_key="sk-secret")
    assert server.models_asked() == ["right"] * 3 + ["wrong"] * 3
    assert made.table.scores.tolist() == [[0], [0], [0]]


def test_half_a_character_is_kept(run, server):
    server.behaviours["cut"] = Behaviour(text="It is 42 \ud83d")  # where a token limit falls inside an emoji
    assert run(models=["cut"]).table.scores.tolist() == [[1], [0], [1]]
    server.requests.clear()
    assert run(models=["cut"]).counts["cut"].answers == 3
    assert server.requests == []


def test_answers_without_a_choice_have_failed(run, monkeypatch):
    from openai.resources.chat.completions import Completions

    monkeypatch.setattr(Completions, "create", lambda *_, **__: SimpleNamespace(choices=[], usage=None))
    with pytest.raises(ConfigurationError, match="an answer without a choice from right"):
        run(models=["right"])


def test_samples_majority_and_agreement(run, server, tmp_path):
    made = run(models=["right"], samples=10, temperature=0.7)
    assert len(server.requests) == 30
    assert made.table.samples.shape == (3, 1, 10)
    file = tmp_path / "answers.jsonl"
    answers = read_answers(file)
    texts = ["The answer is 42."] * 6 + ["The answer is 7."] * 3 + ["No idea."]
    rewritten = [
        Answer(**{**{f: getattr(a, f) for f in Answer.__slots__}, "text": texts[a.sample]}) if a.id == "a" else a
        for a in answers
    ]
    file.write_text("".join(json.dumps({f: getattr(a, f) for f in Answer.__slots__}) + "\n" for a in rewritten))
    made = run(models=["right"], samples=10, temperature=0.7)
    first = next(m for m in made.majorities if m.id == "a")
    assert (first.answer, first.agreement, first.right) == ("42", 0.6, True)
    assert made.counts["right"].unparsable == 1
    assert np.isnan(made.table.samples[0, 0]).sum() == 1
    assert made.table.scores[0, 0] == pytest.approx(6 / 9)  # an answer that cannot be read has no score
    second = next(m for m in made.majorities if m.id == "b")
    assert (second.answer, second.agreement, second.right) == ("42", 1.0, False)


def test_unreadable_answers_are_counted(run, server):
    server.behaviours["mute"] = Behaviour(text="I would rather not say.")
    made = run(models=["mute"])
    assert made.counts["mute"].unparsable == 3
    assert np.isnan(made.table.scores).all()
    assert [(m.answer, m.agreement, m.right) for m in made.majorities] == [(None, 0.0, None)] * 3


def test_truncated_answers_are_counted(run, tmp_path):
    run(models=["right"])
    file = tmp_path / "answers.jsonl"
    file.write_text(file.read_text().replace('"finish_reason": "stop"', '"finish_reason": "length"', 1))
    assert run(models=["right"]).counts["right"].truncated == 1


def test_failed_calls_are_counted_and_asked_again(run, server):
    server.behaviours["down"] = Behaviour(status=400)
    made = run(models=["right", "down"])
    assert (made.counts["down"].failed, made.counts["down"].answers) == (3, 0)
    assert np.isnan(made.table.column("down")).all()
    server.behaviours["down"] = Behaviour(text="42")
    server.requests.clear()
    assert run(models=["right", "down"]).counts["down"].answers == 3
    assert server.models_asked() == ["down"] * 3


def test_nobody_answers(run, server):
    server.behaviours["down"] = Behaviour(status=400)
    with pytest.raises(ConfigurationError, match="no call succeeded; the last error: BadRequestError from down"):
        run(models=["down"])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"samples": 0}, "samples must be 1 or more"),
        ({"grader": "vibes"}, "there is no grader 'vibes'; there are: multiple-choice, number, exact"),
        ({"questions": [QUESTIONS[0], QUESTIONS[0]]}, "question ids must be one or more, all different; twice: 'a'"),
        ({"questions": []}, "question ids must be one or more"),
        ({"models": ["right", "right"]}, "models must be one or more, all different; twice: 'right'"),
    ],
)
def test_arguments_are_checked(run, change, match):
    with pytest.raises(ConfigurationError, match=match):
        run(**change)


def test_file_that_holds_no_answers(run, tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"x": 1}\n{}\n')
    with pytest.raises(ConfigurationError, match="line 1 is no answer"):
        run()
