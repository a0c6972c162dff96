"""Labels by references and by a judge: streaming, resumable, each row once, nothing guessed."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from routellm_core.errors import ConfigurationError, JudgeError
from routellm_core.preferences.battles import read_battles
from routellm_core.preferences.judge import (
    combine_verdicts,
    pair_questions,
    read_pair_verdict,
    read_score,
    score_question,
)
from routellm_core.preferences.judge_models import JudgeModel
from routellm_core.preferences.labelling import estimate_cost, journal_path, label_by_judge, label_by_reference
from routellm_core.preferences.outcomes import read_outcomes
from routellm_core.pricing import Price
from support.openai_server import Behaviour, OpenAIServer


def table(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answers(n: int = 6) -> list[dict]:
    """The echoing judge of the tests finds its verdict in the answers."""
    return [
        {
            "prompt_id": f"q{i}",
            "prompt": f"Question {i}?",
            "reference": "right",
            "answer::big": f"Because.\nScore: {i % 5 + 1}\n",
            "answer::small": f"Well.\nScore: {(i * i) % 5 + 1}\n",
        }
        for i in range(n)
    ]


def echo(text: str) -> str:
    return text


def echo_answer(text: str) -> str:
    """Judge by what is between the tags of the answer, without the instructions."""
    return text[text.index("<answer>") :]


# --- verdicts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("Good.\nScore: 4", 4),
        ("**Score: 5**", 5),
        ("score: 1.", 1),
        ("Score:3\nScore: 3", 3),
        ("Score: 3\nScore: 4", None),
        ("Score: 4.5", None),
        ("Score: 6", None),
        ("Score: 0", None),
        ("Score: -4", None),
        ("Score: <1, 2, 3, 4 or 5>", None),
        ("4", None),
        ("I would give a score: 4 or so", None),
        ("", None),
    ],
)
def test_scores(reply, score):
    assert read_score(reply) == score


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("Because.\nVerdict: A", "A"),
        ("verdict: [[b]]", None),
        ("**Verdict:** B", "B"),
        ("Verdict: Tie.", "tie"),
        ("Verdict: A\nVerdict: B", None),
        ("Verdict: C", None),
        ("A is better", None),
    ],
)
def test_pair_verdicts(reply, verdict):
    assert read_pair_verdict(reply) == verdict


@pytest.mark.parametrize(
    ("first", "swapped", "winner"),
    [
        ("A", "B", "model_a"),
        ("B", "A", "model_b"),
        ("A", "A", "tie"),
        ("B", "B", "tie"),
        ("tie", "tie", "tie"),
        ("A", "tie", "tie"),
        (None, "A", None),
        ("A", None, None),
    ],
)
def test_both_orders_make_the_winner(first, swapped, winner):
    assert combine_verdicts(first, swapped) == winner


def test_keys_depend_on_all_that_a_verdict_depends_on():
    questions = [
        score_question("j", "p", "a", "r"),
        score_question("k", "p", "a", "r"),
        score_question("j", "q", "a", "r"),
        score_question("j", "p", "b", "r"),
        score_question("j", "p", "a", "s"),
        *pair_questions("j", "p", "a", "b"),
    ]
    assert len({question.key for question in questions}) == 7
    assert score_question("j", "p", "a", "r").key == questions[0].key
    assert "secret" not in repr(score_question("j", "secret prompt", "a", "r"))


# --- a judge of each kind -----------------------------------------------------------------------------------------------


def test_an_openai_client(tmp_path):
    openai = pytest.importorskip("openai")
    source, out = table(tmp_path / "answers.jsonl", answers()), tmp_path / "scores.csv"
    with OpenAIServer() as server:
        with openai.OpenAI(base_url=server.url, api_key="test", max_retries=0) as client:
            report = label_by_judge(
                source, out, judge=JudgeModel(client, name="judge"), method="score", price=Price(input=1, output=2)
            )
        assert set(server.models_asked()) == {"judge"}
        body = server.requests[0].body
        assert (body["temperature"], [message["role"] for message in body["messages"]]) == (0, ["system", "user"])
        assert len(server.requests) == 12
    labelled = read_outcomes(out)
    assert labelled.models == ("big", "small")
    assert labelled.prompt_ids == tuple(f"q{i}" for i in range(6))
    assert labelled.scores.tolist() == [[i % 5 / 4, (i * i) % 5 / 4] for i in range(6)]
    assert (report.rows, report.labels, report.unparsable, report.calls, report.repeated) == (6, 12, 0, 12, 0)
    assert report.tokens_in > 0
    assert report.usd == pytest.approx((report.tokens_in + 2 * report.tokens_out) / 1e6)


def test_a_langchain_chat_model(tmp_path):
    fakes = pytest.importorskip("langchain_core.language_models.fake_chat_models")
    source, out = table(tmp_path / "answers.jsonl", answers(1)), tmp_path / "scores.jsonl"
    model = fakes.FakeListChatModel(responses=["Score: 2", "Score: 5"])
    label_by_judge(source, out, judge=JudgeModel(model, name="fake"), method="score", concurrency=1)
    assert read_outcomes(out).scores.tolist() == [[0.25, 1.0]]


def test_a_function(tmp_path):
    source, out = table(tmp_path / "answers.jsonl", answers(1)), tmp_path / "scores.jsonl"
    label_by_judge(source, out, judge=JudgeModel(echo_answer, name="echo"), method="score")
    assert read_outcomes(out).scores.tolist() == [[0, 0]]


def test_what_is_no_judge():
    with pytest.raises(
        ConfigurationError, match=r"an OpenAI client, a chat model with .invoke, or a function, not int"
    ):
        JudgeModel(5, name="five")
    with pytest.raises(ConfigurationError, match="give the judge's name"):
        JudgeModel(echo)


def test_busy_judges_are_asked_again_after_a_growing_wait():
    openai = pytest.importorskip("openai")
    waits: list[float] = []
    question = score_question("judge", "p", "Score: 3", "r")
    with (
        OpenAIServer(behaviours={"judge": Behaviour(status=429, failures=3)}) as server,
        openai.OpenAI(base_url=server.url, api_key="test", max_retries=0) as client,
    ):
        reply = JudgeModel(client, name="judge", sleep=waits.append).ask(question)
    assert (reply.retries, len(waits)) == (3, 3)
    assert 1 <= waits[0] < 2 <= waits[1] < 4 <= waits[2] < 8


@pytest.mark.parametrize(("status", "attempts", "match"), [(500, 3, "3 times in a row"), (401, 1, r"status 401")])
def test_judges_that_fail_for_good(tmp_path, status, attempts, match):
    openai = pytest.importorskip("openai")
    source = table(tmp_path / "answers.jsonl", answers(1))
    with OpenAIServer(behaviours={"judge": Behaviour(status=status)}) as server:
        with openai.OpenAI(base_url=server.url, api_key="sk-secret", max_retries=0) as client:
            judge = JudgeModel(client, name="judge", max_attempts=3, first_wait_s=0)
            with pytest.raises(JudgeError, match=match) as error:
                label_by_judge(source, tmp_path / "out.csv", judge=judge, method="score", concurrency=1)
        assert len(server.requests) == attempts
    assert "sk-secret" not in str(error.value)
    assert "Question 0" not in str(error.value)
    assert not (tmp_path / "out.csv").exists()


def test_a_judge_out_of_reach_is_named(tmp_path):
    openai = pytest.importorskip("openai")
    source = table(tmp_path / "answers.jsonl", answers(1))
    with openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key="test", max_retries=0) as client:
        judge = JudgeModel(client, name="judge", max_attempts=2, first_wait_s=0)
        with pytest.raises(JudgeError, match="2 times in a row, at last with APIConnectionError"):
            label_by_judge(source, tmp_path / "out.csv", judge=judge, method="score")


class RefusalError(Exception):
    status_code = 400


def test_refused_requests_have_no_label_and_are_asked_again_next_time(tmp_path):
    def refuses_one(text: str) -> str:
        if "Question 1?" in text:
            raise RefusalError
        return echo_answer(text)

    source, out = table(tmp_path / "answers.jsonl", answers(3)), tmp_path / "out.jsonl"
    report = label_by_judge(source, out, judge=JudgeModel(refuses_one, name="echo"), method="score", concurrency=1)
    assert (report.labels, report.unlabelled, report.unlabelled_rows) == (4, 2, [f"{source}, line 2"])
    report = label_by_judge(source, out, judge=JudgeModel(echo_answer, name="echo"), method="score")
    assert (report.labels, report.calls, report.known, report.repeated) == (6, 2, 4, 0)


def test_a_judge_that_refuses_everything_ends_the_run(tmp_path):
    def refuses(text: str) -> str:
        raise RefusalError

    source = table(tmp_path / "answers.jsonl", answers(30))
    with pytest.raises(JudgeError, match="refused the first 5 requests: check its name and the options"):
        label_by_judge(
            source, tmp_path / "out.jsonl", judge=JudgeModel(refuses, name="no"), method="score", concurrency=2
        )


# --- tables -------------------------------------------------------------------------------------------------------------


def prefers_long(text: str) -> str:
    """Judge by length, and say nothing that can be read about answers with a question mark."""
    found = dict(re.findall(r"<answer_(.)>\n(.*?)\n</answer_", text, re.DOTALL))
    if any("?" in answer for answer in found.values()):
        return "I cannot tell."
    length_a, length_b = len(found["A"]), len(found["B"])
    return "Verdict: " + ("tie" if length_a == length_b else "A" if length_a > length_b else "B")


def test_pairwise_battles(tmp_path):
    rows = [
        {"prompt": "p", "answer::x": "long answer", "answer::y": "short", "answer::z": None},
        {"prompt": "q", "answer::x": "same", "answer::y": "same", "answer::z": "longer"},
        {"prompt": "r", "answer::x": "what?", "answer::y": "b", "answer::z": "cc"},
    ]
    out = tmp_path / "battles.csv"
    report = label_by_judge(
        table(tmp_path / "answers.jsonl", rows), out, judge=JudgeModel(prefers_long, name="length"), method="pairwise"
    )
    assert [(b.prompt, b.model_a, b.model_b, b.winner, b.source) for b in read_battles(out)] == [
        ("p", "x", "y", "model_a", "judge"),
        ("q", "x", "y", "tie", "judge"),
        ("q", "x", "z", "model_b", "judge"),
        ("q", "y", "z", "model_b", "judge"),
        ("r", "y", "z", "model_b", "judge"),
    ]
    assert (report.rows, report.labels, report.unlabelled, report.unparsable) == (3, 5, 2, 4)
    assert report.unlabelled_rows == [f"{tmp_path / 'answers.jsonl'}, line 3"]
    # asked once: "same" against "same", of which the two orders are equal, and "same" against "longer" in each order
    assert (report.questions, report.calls, report.known) == (14, 11, 3)


def test_a_judge_with_a_favourite_side_makes_ties(tmp_path):
    source = table(
        tmp_path / "a.jsonl", [{"prompt": "p", "model_a": "x", "model_b": "y", "answer_a": "1", "answer_b": "2"}]
    )
    out = tmp_path / "battles.jsonl"
    label_by_judge(source, out, judge=JudgeModel(lambda _: "Verdict: A", name="first"), method="pairwise")
    assert [b.winner for b in read_battles(out)] == ["tie"]


def test_a_finished_run_asks_nothing_again(tmp_path):
    source, out = table(tmp_path / "answers.jsonl", answers()), tmp_path / "out.jsonl"
    seen = []
    for _ in range(2):
        report = label_by_judge(
            source, out, judge=JudgeModel(echo_answer, name="echo"), method="score", progress=seen.append
        )
    assert (report.calls, report.known, report.labels) == (0, 12, 12)
    assert sum(seen) == 24


def test_bad_verdicts_are_kept_and_not_asked_again(tmp_path):
    source, out = table(tmp_path / "answers.jsonl", answers(2)), tmp_path / "out.jsonl"
    for calls in (4, 0):
        report = label_by_judge(source, out, judge=JudgeModel(lambda _: "Hm.", name="hm"), method="score")
        assert (report.calls, report.unparsable, report.labels, report.unlabelled, report.rows) == (calls, 4, 0, 4, 2)
    assert [json.loads(line)["score::big"] for line in out.read_text().splitlines()] == [None, None]


@pytest.mark.parametrize("concurrency", [1, 4])
def test_no_more_calls_at_once_than_allowed(tmp_path, concurrency):
    running, most = [], []

    def slow(text: str) -> str:
        running.append(1)
        most.append(len(running))
        time.sleep(0.002)
        running.pop()
        return echo_answer(text)

    source = table(tmp_path / "answers.jsonl", answers(20))
    label_by_judge(
        source, tmp_path / "o.jsonl", judge=JudgeModel(slow, name="s"), method="score", concurrency=concurrency
    )
    assert max(most) == concurrency


def test_the_estimate_knows_what_is_known(tmp_path):
    source, out = table(tmp_path / "answers.jsonl", answers(4)), tmp_path / "out.jsonl"
    arguments = {"method": "score", "judge": "echo", "journal": journal_path(out), "price": Price(input=1, output=1)}
    before = estimate_cost(source, **arguments)
    assert (before.questions, before.known) == (8, 0)
    assert before.tokens_out == 8 * 300
    assert before.usd == pytest.approx((before.tokens_in + before.tokens_out) / 1e6)
    assert not journal_path(out).exists()
    label_by_judge(source, out, judge=JudgeModel(echo_answer, name="echo"), method="score")
    after = estimate_cost(source, **arguments)
    assert (after.known, after.tokens_in, after.usd) == (8, 0, 0)
    assert estimate_cost(source, **{**arguments, "judge": "other", "price": None}).usd is None


def test_the_estimate_takes_other_scripts_for_a_token_a_character(tmp_path):
    def estimate(answer: str) -> int:
        row = {"prompt": "p", "reference": "r", "answer::x": answer}
        return estimate_cost(table(tmp_path / "a.jsonl", [row]), method="score", judge="j").tokens_in

    assert estimate("x" * 4000) - estimate("x" * 400) == 900
    assert estimate("\u6f22" * 4000) - estimate("\u6f22" * 400) == 3600


def test_an_estimate_needs_a_number_of_tokens(tmp_path):
    source = table(tmp_path / "a.jsonl", answers(1))
    with pytest.raises(ConfigurationError, match="a whole number of tokens, 1 or more, not 'many'"):
        estimate_cost(source, method="score", judge="j", answer_tokens="many")


def test_options_are_added_and_left_out(tmp_path):
    openai = pytest.importorskip("openai")
    source = table(tmp_path / "answers.jsonl", answers(1))
    with OpenAIServer() as server:
        with openai.OpenAI(base_url=server.url, api_key="test", max_retries=0) as client:
            judge = JudgeModel(client, name="j", options={"max_tokens": None, "max_completion_tokens": 9})
            label_by_judge(source, tmp_path / "out.csv", judge=judge, method="score")
        body = server.requests[0].body
    assert (body["temperature"], body["max_completion_tokens"], "max_tokens" in body) == (0, 9, False)


@pytest.mark.parametrize("name", ["out.txt", "nowhere/out.csv"])
def test_where_the_table_goes_is_checked_before_anybody_is_asked(tmp_path, name):
    def asked(text: str) -> str:
        raise AssertionError(text)

    source = table(tmp_path / "answers.jsonl", answers(1))
    with pytest.raises(ConfigurationError, match=r"must end in|there is no folder"):
        label_by_judge(source, tmp_path / name, judge=JudgeModel(asked, name="j"), method="pairwise")
    assert [path.name for path in tmp_path.iterdir()] == ["answers.jsonl"]


def test_golden_labels(tmp_path):
    rows = [
        {"prompt": "p", "reference": "B", "answer::x": "The answer is B.", "answer::y": "Perhaps A or B", "task": "t"},
        {"prompt": "q", "reference": "C", "answer::x": "A", "answer::y": None},
    ]
    out = tmp_path / "golden.csv"
    report = label_by_reference(table(tmp_path / "a.jsonl", rows), out, grader="multiple-choice")
    labelled = read_outcomes(out)
    assert labelled.scores.tolist()[0][0] == 1.0
    assert labelled.groups == ("t", "")
    assert (report.rows, report.labels, report.unlabelled, report.unparsable) == (2, 2, 2, 1)
    with pytest.raises(ConfigurationError, match="line 1: the reference must hold a number"):
        label_by_reference(tmp_path / "a.jsonl", out, grader="number")


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ({"prompt": "p", "reference": "r"}, "has no answers: name their columns answer::<model>"),
        ({"prompt": "p", "answer::x": "a"}, "has no column 'reference'"),
        ({"prompt": "p", "answer::x": "a", "reference": ""}, "line 1: 'reference' must be text"),
        ({"prompt": "p", "answer::x": 5, "reference": "r"}, "line 1: models are names and their answers text"),
        ({"prompt": 5, "answer::x": "a", "reference": "r"}, "line 1: the prompt must be text"),
        (
            {"prompt": "p", "reference": "r", "model_a": "x", "model_b": "x", "answer_a": "1", "answer_b": "2"},
            "are both 'x'",
        ),
    ],
)
def test_tables_without_what_is_needed(tmp_path, row, match):
    source = table(tmp_path / "a.jsonl", [row])
    with pytest.raises(ConfigurationError, match=match):
        label_by_judge(source, tmp_path / "o.jsonl", judge=JudgeModel(echo, name="e"), method="score")


# --- the journal --------------------------------------------------------------------------------------------------------


def test_a_torn_last_line_is_dropped_and_asked_again(tmp_path):
    source, out = table(tmp_path / "answers.jsonl", answers(3)), tmp_path / "out.jsonl"
    judge = JudgeModel(echo_answer, name="echo")
    label_by_judge(source, out, judge=judge, method="score", concurrency=1)
    whole, journal = out.read_bytes(), journal_path(out)
    journal.write_bytes(journal.read_bytes()[:-10])
    report = label_by_judge(source, out, judge=judge, method="score")
    assert (report.calls, report.repeated, report.known) == (1, 1, 5)
    assert out.read_bytes() == whole


@pytest.mark.parametrize(
    "content", ['{"prompt": "p"}\n', "a,b\n", '{"journal": "routellm judge verdicts", "version": 9}\n']
)
def test_another_file_is_no_journal(tmp_path, content):
    source = table(tmp_path / "answers.jsonl", answers(1))
    (tmp_path / "j").write_text(content)
    with pytest.raises(ConfigurationError, match=r"is no (journal|line)"):
        label_by_judge(
            source, tmp_path / "o.jsonl", judge=JudgeModel(echo, name="e"), method="score", journal=tmp_path / "j"
        )
    assert (tmp_path / "j").read_text() == content


def test_two_runs_do_not_share_a_journal(tmp_path):
    source, out = table(tmp_path / "answers.jsonl", answers(1)), tmp_path / "out.jsonl"

    def label_again(text: str) -> str:
        label_by_judge(source, out, judge=JudgeModel(echo_answer, name="echo"), method="score")
        return text

    with pytest.raises(JudgeError, match="ConfigurationError"):
        label_by_judge(source, out, judge=JudgeModel(label_again, name="echo"), method="score")


RUN = """
import json, sys, urllib.request
from routellm_core.preferences.judge_models import JudgeModel
from routellm_core.preferences.labelling import label_by_judge

def ask(text):
    body = json.dumps({"model": "judge", "messages": [{"role": "user", "content": text[text.index("<answer>"):]}]})
    request = urllib.request.Request(sys.argv[1] + "/chat/completions", body.encode())
    return json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"]

report = label_by_judge(sys.argv[2], sys.argv[3], judge=JudgeModel(ask, name="judge"), method="score", concurrency=4)
print(json.dumps(report.to_dict()))
"""


def test_killed_at_random_moments_and_resumed_gives_the_same_table(tmp_path):
    n = 60
    source = table(tmp_path / "answers.jsonl", answers(n))
    expected, out = tmp_path / "expected.jsonl", tmp_path / "out.jsonl"
    label_by_judge(source, expected, judge=JudgeModel(echo_answer, name="judge"), method="score")
    rng = random.Random(time.time_ns())
    with OpenAIServer(behaviours={"judge": Behaviour(delay_s=0.004)}) as server:
        command = [sys.executable, "-c", RUN, server.url, str(source), str(out)]
        for _ in range(2):
            asked = len(server.requests)
            process = subprocess.Popen(command, stdout=subprocess.PIPE)
            stop_after = rng.randint(1, 2 * n // 3)
            while len(server.requests) - asked < stop_after and process.poll() is None:
                time.sleep(0.001)
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            assert process.returncode == -signal.SIGKILL
            assert not out.exists()
        final = subprocess.run(command, capture_output=True, text=True, check=True)
        report = json.loads(final.stdout)
        lines = [json.loads(line) for line in journal_path(out).read_text().splitlines()]
        verdicts = [line["key"] for line in lines if "key" in line]
        assert out.read_bytes() == expected.read_bytes()
        assert len(verdicts) == len(set(verdicts)) == len({q["prompt"] for q in answers(n)}) * 2
        assert report["known"] + report["calls"] == report["questions"] == 2 * n
        noted = sum("asked" in line for line in lines)
        assert 2 * n <= len(server.requests) <= noted <= 2 * n + 2 * 4
        assert report["repeated"] <= 4 * 2
