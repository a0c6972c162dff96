"""Files as others publish them, made here in their layouts."""

import json

import numpy as np
import pytest

from routellm_core.errors import ConfigurationError
from routellm_core.evaluation.benchmarks import load_benchmark
from routellm_core.evaluation.published import merge_turns, read_mt_bench, read_routellm_responses, read_routerbench
from routellm_core.preferences.outcomes import OutcomeTable

WEAK, STRONG = "mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview"


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def mmlu(tmp_path):
    header = f"prompt,{WEAK},{STRONG}\n"
    (tmp_path / "mmlu_anatomy.csv").write_text(
        header + '"Which bone?\nA. 1\nAnswer:",False,True\n"Seen, before",True,True\n'
    )
    (tmp_path / "mmlu_virology.csv").write_text(header + '"Which ""virus""?",True,False\n')
    return [tmp_path / "mmlu_anatomy.csv", tmp_path / "mmlu_virology.csv"]


def test_mmlu(mmlu, tmp_path):
    contaminated = jsonl(tmp_path / "c.jsonl", [{"train_prompt": "seen", "eval_prompt": "Seen, before"}])
    table = read_routellm_responses(mmlu, contaminated=contaminated)
    assert table.prompts == ("Which bone?\nA. 1\nAnswer:", "Seen, before", 'Which "virus"?')
    assert table.models == (WEAK, STRONG)
    assert table.scores.tolist() == [[0, 1], [1, 1], [1, 0]]
    assert table.groups == ("anatomy", "anatomy", "virology")
    assert table.flags["routellm_contaminated"].tolist() == [False, True, False]


def test_gsm8k_leaves_the_answers_aside(tmp_path):
    path = tmp_path / "gsm8k_responses.csv"
    path.write_text(
        f'prompt,{WEAK},{STRONG},{WEAK}_response,{STRONG}_response\nHow many?,True,False," 3\n#### 3",Four.\n'
    )
    table = read_routellm_responses([path])
    assert (table.models, table.scores.tolist()) == ((WEAK, STRONG), [[1, 0]])
    assert dict(table.flags) == {}


@pytest.mark.parametrize("content", ["prompt,a\nq,maybe\n", "question,a\nq,True\n"])
def test_no_response_file(tmp_path, content):
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(ConfigurationError, match=r"x\.csv"):
        read_routellm_responses([tmp_path / "x.csv"])


def test_files_of_different_models(mmlu, tmp_path):
    (tmp_path / "mmlu_law.csv").write_text("prompt,other\nq,True\n")
    with pytest.raises(ConfigurationError, match="other"):
        read_routellm_responses([*mmlu, tmp_path / "mmlu_law.csv"])


def mt_bench(tmp_path):
    questions = jsonl(
        tmp_path / "question.jsonl",
        [
            {"question_id": 81, "category": "writing", "turns": ["Write.", "Rewrite."]},
            {"question_id": 101, "category": "math", "turns": ["Add.", "Subtract."]},
            {"question_id": 102, "category": "math", "turns": ["Divide.", "Seen."]},
        ],
    )
    scores = {
        (81, WEAK): (8, 6),
        (81, STRONG): (9, 10),
        (101, WEAK): (1, 3),
        (101, STRONG): (10, -1),
        (102, WEAK): (5, 5),
    }
    judged = [
        {"question_id": q, "model": m, "judge": ["gpt-4", "single-v1"], "score": s, "turn": t, "judgment": "…\u2028…"}
        for (q, m), pair in scores.items()
        for t, s in enumerate(pair, start=1)
    ]
    return questions, jsonl(tmp_path / "judgements.jsonl", judged)


def test_mt_bench_scores_both_turns_and_routes_the_first(tmp_path):
    contaminated = jsonl(tmp_path / "c.jsonl", [{"eval_prompt": "Seen."}])
    table = read_mt_bench(*mt_bench(tmp_path), contaminated=contaminated)
    assert table.prompts == ("Write.", "Add.", "Divide.")
    assert table.groups == ("writing", "math", "math")
    # A judgement that failed (-1) is none; a model that was not judged has no score.
    np.testing.assert_array_equal(table.scores, [[7, 9.5], [2, 10], [5, np.nan]])
    assert table.flags["routellm_contaminated"].tolist() == [False, False, True]  # its second turn was seen


def test_mt_bench_lines_are_checked(tmp_path):
    questions, judged = mt_bench(tmp_path)
    with pytest.raises(ConfigurationError, match="'turns'"):
        read_mt_bench(jsonl(tmp_path / "q.jsonl", [{"question_id": 1}]), judged)
    with pytest.raises(ConfigurationError, match="one is empty"):
        read_mt_bench(questions, jsonl(tmp_path / "j.jsonl", []))


def test_routerbench(tmp_path):
    path = tmp_path / "rb.csv"
    path.write_text(
        "sample_id,prompt,eval_name,gpt-4,mix,gpt-4|model_response,gpt-4|total_cost,mix|total_cost,oracle_model_to_route_to\n"
        "a.1,Why?,arc,1.0,0.25,Because,0.003,0.0001,mix\na.2,How?,grade,0.5,,So,0.002,0.0002,gpt-4\n"
    )
    table = read_routerbench(path)
    assert table.models == ("gpt-4", "mix")
    np.testing.assert_array_equal(table.scores, [[1, 0.25], [0.5, np.nan]])
    np.testing.assert_array_equal(table.cost_usd, [[0.003, 0.0001], [0.002, 0.0002]])
    assert (table.groups, table.prompt_ids, table.name) == (("arc", "grade"), ("a.1", "a.2"), "rb")
    path.write_text("prompt,x\na,1\n")
    with pytest.raises(ConfigurationError, match="no table of RouterBench"):
        read_routerbench(path)


def test_turns_are_merged():
    table = OutcomeTable(
        prompts=("second", "first", "alone"),
        models=("m",),
        scores=np.array([[4.0], [2.0], [7.0]]),
        prompt_ids=("q-1-t2", "q-1-t1", "q-2-t1"),
        flags={"seen": np.array([True, False, False])},
    )
    merged = merge_turns(table)
    assert merged.prompts == ("first", "alone")
    assert merged.scores.tolist() == [[3.0], [7.0]]
    assert merged.prompt_ids == ("q-1", "q-2")
    assert merged.flags["seen"].tolist() == [True, False]
    plain = OutcomeTable(prompts=("a",), models=("m",), scores=np.ones((1, 1)), prompt_ids=("x-y",))
    assert merge_turns(plain) is plain


def test_mt_bench_of_recorded_judgements(outcome_data):
    pytest.importorskip("pyarrow")
    table = load_benchmark(outcome_data / "routellm_mtbench_gpt4judge.parquet")
    assert len(table) == 43
    kept = table.select(~table.flags["routellm_contaminated"])
    assert len(kept) == 39
    assert kept.column(STRONG).mean() == pytest.approx(9.29487, abs=5e-6)
    assert kept.column(WEAK).mean() == pytest.approx(8.13462, abs=5e-6)
