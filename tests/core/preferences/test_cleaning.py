"""What leaves a data set before training: filters, and prompts of evaluations."""

import json

import numpy as np
import pytest

from routellm_core.errors import ConfigurationError
from routellm_core.preferences import cleaning
from routellm_core.preferences.battles import Battle, PreferenceDataset, iter_battles, read_battles
from routellm_core.preferences.cleaning import decontaminate_table, merge_battles
from routellm_core.preferences.decontamination import EvaluationPrompts, decontaminate
from routellm_core.preferences.filters import drop_duplicates, drop_short, keep_languages
from routellm_core.preferences.languages import guess_language
from routellm_core.preferences.normalise import normalise_text


def battles(*prompts: str) -> PreferenceDataset:
    return PreferenceDataset.from_battles([Battle(prompt, "a", "b", "tie") for prompt in prompts])


def test_short_prompts():
    filtered = drop_short(battles("x" * 15, "x" * 16, "  " + "x" * 15 + " ", "日" * 16))
    assert [len(b.prompt.strip()) for b in filtered.dataset] == [16, 16]
    assert filtered.dropped.tolist() == [0, 2]
    assert filtered.to_dict() == {
        "rule": "prompts shorter than 16 characters",
        "dropped": 2,
        "kept": 2,
        "reasons": {"short": 2},
    }
    assert len(drop_short(battles("a"), min_characters=0).dataset) == 1


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What is the capital of France?", "en"),
        ("Quelle est la capitale de la France ?", "fr"),
        ("¿Cuál es la capital de Francia?", "es"),
        ("Qual é a capital da França?", "pt"),
        ("Qual è la capitale della Francia?", "it"),
        ("Was ist die Hauptstadt von Frankreich?", "de"),
        ("Wat is de hoofdstad van Frankrijk?", "nl"),
        ("法国的首都是哪里", "zh"),
        ("フランスの首都はどこですか", "ja"),
        ("프랑스의 수도는 어디입니까?", "ko"),
        ("Какой город столица Франции?", "ru"),
        ("ما هي عاصمة فرنسا؟", "ar"),
        ("Translate 'こんにちは' for me, please: what does it mean in English?", "en"),
        ("A subset H of a group (G,*) is a group if a * b in H", "en"),
        ("x = 3", "und"),
        ("", "und"),
        ("123 !?", "und"),
    ],
)
def test_languages(text, language):
    assert guess_language(text) == language


def test_languages_are_kept_by_rule_or_by_a_library():
    dataset = battles("What is the answer to this?", "Was ist die Antwort auf die Frage?", "x = 3")
    kept = keep_languages(dataset, {"en", "und"})
    assert [b.prompt for b in kept.dataset] == ["What is the answer to this?", "x = 3"]
    assert kept.counts == {"de": 1}
    assert len(keep_languages(dataset, {"zz"}, detect=lambda _: "zz").dataset) == 3
    for wrong in ((), "en"):
        with pytest.raises(ConfigurationError, match="languages must be codes"):
            keep_languages(dataset, wrong)


def test_duplicates():
    rows = [
        Battle("Why is it?", "a", "b", "model_a"),
        Battle("  WHY is  it?", "b", "a", "model_b"),  # the same vote, the other way round
        Battle("Why is it?", "a", "b", "model_b"),  # another vote
        Battle("Why is it?", "a", "c", "model_a"),
        Battle("Why is it?", "a", "b", "model_a", "judge"),
        Battle("Why is it?", "a", "b", "model_a"),
    ]
    filtered = drop_duplicates(PreferenceDataset.from_battles(rows))
    assert filtered.dropped.tolist() == [1, 5]
    assert list(filtered.dataset) == [rows[i] for i in (0, 2, 3, 4)]
    seen: set[bytes] = set()
    parts = [drop_duplicates(PreferenceDataset.from_battles([row]), seen=seen) for row in rows]
    assert [len(part.dropped) for part in parts] == [0, 1, 0, 0, 0, 1]


# --- decontamination ----------------------------------------------------------------------------------------------------


class Axes:
    """Embeds "north 30" as the direction 30 degrees from north."""

    id = "axes"
    dimension = 2

    def embed(self, texts):
        angles = np.radians([float(text.split()[-1]) for text in texts]) if len(texts) else np.zeros(0)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_prompts_go_by_text_and_by_cosine():
    evaluation = ["north 0", "East 90"]
    dataset = battles("NORTH  0", "a 18", "b 19", "c 89", "d 45", "a 18")
    result = decontaminate(dataset, evaluation, embedder=Axes())
    assert [(m.row, m.evaluation_row, round(m.similarity, 3), m.found_by) for m in result.found] == [
        (0, 0, 1.0, "text"),
        (1, 0, 0.951, "embedding"),  # cos 18 degrees; cos 19 degrees is 0.9455
        (3, 1, 1.0, "embedding"),
    ]
    assert [b.prompt for b in result.dataset] == ["b 19", "d 45"]
    assert result.dropped_battles == 4
    assert json.loads(json.dumps(result.to_dict()))["dropped"] == 4


def test_texts_alone():
    result = decontaminate(battles("NORTH  0", "\uff4eorth 0", "a 1"), ["north 0"])
    assert [m.row for m in result.found] == [0, 1]


def test_blocks_find_what_one_comparison_finds():
    rng = np.random.default_rng(0)
    prompts = [f"p {angle}" for angle in rng.uniform(0, 360, 2500)]
    evaluation = [f"e {angle}" for angle in rng.uniform(0, 20, 30)]
    embedder = Axes()
    cosines = embedder.embed(prompts) @ embedder.embed(evaluation).T
    expected = np.flatnonzero(cosines.max(axis=1) >= np.float32(0.99)).tolist()
    found = EvaluationPrompts(evaluation, embedder=embedder, similarity=0.99).find(prompts)
    assert [m.row for m in found] == expected
    assert all(cosines[m.row, m.evaluation_row] == cosines[m.row].max() for m in found)


def test_the_embedded_default_finds_a_reworded_copy():
    from routellm_core.embedders.bundled import BundledEmbedder

    evaluation = ["A train travels 120 kilometres in 2 hours. What is its average speed in kilometres per hour?"]
    copy = "A train travels 120 kilometres in 2 hours: what is its average speed in kilometres per hour"
    found = EvaluationPrompts(evaluation, embedder=BundledEmbedder()).find([copy, "Name a train station in Berlin."])
    assert [(m.row, m.found_by) for m in found] == [(0, "embedding")]


@pytest.mark.parametrize(
    "arguments", [{"prompts": []}, {"prompts": ["a"], "similarity": 0}, {"prompts": ["a"], "similarity": 1.1}]
)
def test_evaluations_that_cannot_be(arguments):
    with pytest.raises(ConfigurationError):
        EvaluationPrompts(**arguments)


# --- tables -------------------------------------------------------------------------------------------------------------


def jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


ROW = {"prompt": "What is the reason for it?", "model_a": "a", "model_b": "b", "winner": "tie"}


def test_merging_says_what_came_of_every_table(tmp_path):
    first = jsonl(
        tmp_path / "a.jsonl", ROW, {**ROW, "prompt": "Hi!"}, {**ROW, "model_b": "a"}, {**ROW, "source": "judge"}
    )
    second = jsonl(
        tmp_path / "b.jsonl", ROW, {**ROW, "prompt": "Was ist der Grund dafür und warum?"}, {**ROW, "weight": 2}
    )
    third = jsonl(tmp_path / "c.jsonl", {"prompt": ROW["prompt"], "score::a": 0.5, "score::b": 0.45})
    out = tmp_path / "out.csv"
    reports = merge_battles([first, second, third], out, min_characters=16, languages={"en"}, margin=0.1)
    assert [(r.battles, r.self_battles, r.dropped, r.kept) for r in reports] == [
        (3, 1, {"short": 1}, 2),
        (3, 0, {"de": 1, "duplicate": 2}, 0),
        (1, 0, {}, 1),
    ]
    assert [(b.winner, b.source) for b in read_battles(out)] == [("tie", "human"), ("tie", "judge"), ("tie", "gold")]
    everything = merge_battles([first, second], tmp_path / "all.jsonl", keep_duplicates=True)
    assert sum(r.kept for r in everything) == 6
    assert read_battles(tmp_path / "all.jsonl").weight.tolist() == [1.0] * 5 + [2.0]


def test_merging_streams(tmp_path):
    import tracemalloc

    path = tmp_path / "big.jsonl"
    with path.open("w") as stream:
        for i in range(40_000):
            stream.write(json.dumps({**ROW, "prompt": f"{i} " + "word " * 60}) + "\n")
    tracemalloc.start()
    (report,) = merge_battles([str(path)], tmp_path / "out.jsonl")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.kept == 40_000
    assert peak < 2 * path.stat().st_size  # measured: far less; the bound leaves room for the interpreter
    assert sum(len(part) for part in iter_battles(tmp_path / "out.jsonl")) == 40_000


def test_outcomes_become_battles_a_part_at_a_time(tmp_path, monkeypatch):
    rows = [{"prompt": f"p{i}", "samples::a": [1, i % 2], "samples::b": [0, 1], "samples::c": [1, 1]} for i in range(7)]
    source = jsonl(tmp_path / "o.jsonl", *rows)
    (whole,) = merge_battles([source], tmp_path / "whole.jsonl")
    monkeypatch.setattr(cleaning, "_BATTLES_AT_ONCE", 6)
    read = []
    (parts,) = merge_battles([source], tmp_path / "parts.jsonl", progress=read.append)
    assert (whole.battles, whole.kept) == (21, 21)
    assert parts == whole
    assert read == [6, 6, 6, 3]
    assert (tmp_path / "parts.jsonl").read_text() == (tmp_path / "whole.jsonl").read_text()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_decontaminated_tables_keep_their_columns(tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    source = jsonl(
        tmp_path / "a.jsonl", {**ROW, "note": "n"}, {**ROW, "prompt": "north 0", "note": "m"}, {**ROW, "prompt": "x 5"}
    )
    evaluation = jsonl(tmp_path / "e.jsonl", {"question": "east 90"}, {"question": "North 0"})
    out = tmp_path / f"out{suffix}"
    report = decontaminate_table(source, [evaluation], out, evaluation_field="question")
    assert (report.rows, report.dropped, report.embedder) == (3, 1, None)
    assert report.found == [
        {
            "row": f"{source}, line 2",
            "evaluation_row": f"{evaluation}, line 2",
            "similarity": 1.0,
            "found_by": "text",
        }
    ]
    from routellm_core.preferences.tables import Table

    (batch,) = Table(out).batches()
    assert list(batch.columns) == [*ROW, "note"]
    assert batch.columns["prompt"] == [ROW["prompt"], "x 5"]
    assert batch.columns["note"][0] == "n"


def test_decontamination_reads_the_arena_layouts(tmp_path):
    turns = [{"role": "user", "content": "north 0"}, {"role": "assistant", "content": "Yes."}]
    arena = {"model_a": "a", "model_b": "b", "winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0}
    conversations = jsonl(
        tmp_path / "a.jsonl", {"model_a": "a", "model_b": "b", "winner": "tie", "conversation_a": turns}
    )
    listed = jsonl(tmp_path / "b.jsonl", {**arena, "prompt": '["north 0", "more"]'})
    evaluation = jsonl(tmp_path / "e.jsonl", {"prompt": "North  0"})
    for source in (conversations, listed):
        assert decontaminate_table(source, [evaluation], None).dropped == 1


def test_normalisation_knows_width_case_and_white_space():
    assert normalise_text(" \uff21B\u00a0c\n") == "ab c"
