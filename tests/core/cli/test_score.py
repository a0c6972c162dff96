"""`routellm score`, as a user runs it: in a process of its own, or through its entry point."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from routellm_core import PoolRouter, __version__, load_router
from routellm_core.registry import router_names
from routellm_core.routers.random import RandomRouter

score = import_module("routellm_core.cli.score")  # the package has a function of this name

PROMPTS = ["What is the capital of France?", "Prove that there are infinitely many primes.", "Hi! Ünïcödé 日本 😀"]


def rows(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def refused(result) -> str:
    code, out, err = result
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    return err


def test_end_to_end_in_a_process():
    command = [Path(sys.executable).parent / "routellm", "score", *PROMPTS, "--format", "jsonl"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env={"PATH": os.environ["PATH"]})
    assert (done.returncode, done.stderr) == (0, "")
    router = load_router("default")
    threshold = router.thresholds.threshold_for(0.5)
    assert rows(done.stdout) == [
        {
            "prompt": prompt,
            "router": "default",
            "strong_win_rate": rate,
            "threshold": threshold,
            "choice": "strong" if rate >= threshold else "weak",
        }
        for prompt, rate in zip(PROMPTS, router.strong_win_rates(PROMPTS).tolist(), strict=True)
    ]


def test_keys_and_their_order(routellm):
    _, out, _ = routellm("score", "Hi!", "--format", "jsonl")
    assert list(rows(out)[0]) == ["prompt", "router", "strong_win_rate", "threshold", "choice"]


def test_table_for_people(routellm):
    code, out, err = routellm("score", *PROMPTS, "x" * 100 + "END", "--router", "length", "--threshold", "0.001")
    assert (code, err) == (0, "")
    for part in (
        "capital of France",
        "strong win rate",
        "0.0013",
        "strong",
        "weak",
        "router length",
        "threshold 0.0010",
    ):
        assert part in out
    assert "…" in out
    assert "END" not in out


def test_brackets_are_not_markup(routellm):
    _, out, _ = routellm("score", "[bold]x[/bold] [/nothing]", "--router", "random")
    assert "[bold]x[/bold] [/nothing]" in out


@pytest.mark.parametrize(("threshold", "choices"), [("0", {"strong"}), ("1", {"weak"}), ("0.5", {"strong", "weak"})])
def test_threshold_decides(routellm, threshold, choices):
    prompts = [f"prompt {i}" for i in range(40)]
    _, out, _ = routellm("score", *prompts, "--router", "random", "--threshold", threshold, "--format", "jsonl")
    found = rows(out)
    assert {row["choice"] for row in found} == choices
    assert all((row["choice"] == "strong") == (row["strong_win_rate"] >= float(threshold)) for row in found)


def test_win_rate_that_equals_the_threshold_is_strong(routellm):
    monotone = ["x" * 1024, "x" * 1023]  # 1/32 and a little less
    _, out, _ = routellm("score", *monotone, "--router", "length", "--threshold", "0.03125", "--format", "jsonl")
    assert [row["choice"] for row in rows(out)] == ["strong", "weak"]


@pytest.mark.parametrize("threshold", ["1.5", "-0.1", "nan", "inf"])
def test_threshold_out_of_range(routellm, threshold):
    assert "--threshold must be in [0, 1]" in refused(routellm("score", "Hi!", "--threshold", threshold))


def test_threshold_that_is_no_number(routellm):
    assert "threshold" in refused(routellm("score", "Hi!", "--threshold", "high"))


# --- where prompts come from ----------------------------------------------------------------------------------------


def write(path: Path, prompts: list[str], field: str = "prompt") -> Path:
    if path.suffix == ".txt":
        path.write_text("\n".join(prompts) + "\n", encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"id": i, field: p}) + "\n" for i, p in enumerate(prompts)))
    else:
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame({"id": range(len(prompts)), field: prompts})
        if path.suffix == ".csv":
            frame.to_csv(path, index=False)
        else:
            pytest.importorskip("pyarrow")
            frame.to_parquet(path)
    return path


def scored(result) -> list[str]:
    code, out, err = result
    assert (code, err) == (0, "")
    return [row["prompt"] for row in rows(out)]


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".csv", ".parquet", ".JSONL"])
def test_files(routellm, tmp_path, suffix):
    path = write(tmp_path / f"prompts{suffix.lower()}", PROMPTS).rename(tmp_path / f"prompts{suffix}")
    result = routellm("score", "--file", str(path), "--router", "length", "--format", "jsonl")
    assert scored(result) == PROMPTS


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_field(routellm, tmp_path, suffix):
    path = str(write(tmp_path / f"prompts{suffix}", PROMPTS, field="question"))
    result = routellm("score", "--file", path, "--field", "question", "--router", "length", "--format", "jsonl")
    assert scored(result) == PROMPTS
    error = refused(routellm("score", "--file", path, "--router", "length"))
    for part in (path, "'prompt'", "'question'", "--field"):
        assert part in error


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_prompts_of_several_lines_and_of_great_length(routellm, tmp_path, suffix):
    prompts = ['two\nlines, "quoted"', "x" * 300_000]
    path = write(tmp_path / f"prompts{suffix}", prompts)
    assert scored(routellm("score", "--file", str(path), "--router", "length", "--format", "jsonl")) == prompts


def test_arguments_come_before_the_file(routellm, tmp_path):
    path = str(write(tmp_path / "prompts.txt", ["from file"]))
    assert scored(routellm("score", "first", "--file", path, "--router", "length", "--format", "jsonl")) == [
        "first",
        "from file",
    ]


def test_standard_input(routellm):
    text = "one\r\n\n  \ntwo 日本\nthree"
    result = routellm("score", "--file", "-", "--router", "length", "--format", "jsonl", stdin=text)
    assert scored(result) == ["one", "two 日本", "three"]


def test_more_prompts_than_one_chunk(routellm):
    prompts = [f"prompt {i}" for i in range(700)]
    result = routellm("score", "--file", "-", "--router", "random", "--format", "jsonl", stdin="\n".join(prompts))
    assert scored(result) == prompts


def test_byte_order_mark_is_no_part_of_a_prompt(routellm, tmp_path):
    for suffix, content in ((".txt", "one"), (".csv", "prompt\none"), (".jsonl", '{"prompt": "one"}')):
        path = tmp_path / f"bom{suffix}"
        path.write_text(content, encoding="utf-8-sig")
        assert scored(routellm("score", "--file", str(path), "--router", "length", "--format", "jsonl")) == ["one"]


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("x.txt", b"caf\xe9\n", "is not UTF-8 text"),
        ("x.csv", b"prompt\ncaf\xe9\n", "is not UTF-8 text"),
        ("x.txt", b"\n \n", "there is no prompt"),
        ("x.jsonl", b"", "there is no prompt"),
        ("x.jsonl", b'{"prompt": "a"}\n{"prompt": \n', "line 2 is not JSON"),
        ("x.jsonl", b'["a"]\n', "line 1 has no field 'prompt'"),
        ("x.jsonl", b'{"prompt": 5}\n', "line 1: 'prompt' must be text, not int"),
        ("x.jsonl", b'{"prompt": null}\n', "must be text, not NoneType"),
        ("x.jsonl", b'{"prompt": [{"role": "user"}]}\n', "must be text, not list"),
        ("x.csv", b"", "has no column 'prompt'"),
        ("x.csv", b"id,prompt\n1\n", "line 2: 'prompt' must be text, not NoneType"),
        ("x.parquet", b"PAR1 and nothing more", "is no parquet file"),
        ("x.xlsx", b"", "the name must end in .txt, .jsonl, .csv, .parquet, or be -"),
        ("x", b"", "the name must end in"),
    ],
)
def test_file_that_cannot_be_read(routellm, tmp_path, name, content, match):
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    result = routellm("score", "--file", str(tmp_path / name), "--router", "length", "--format", "jsonl")
    assert match in refused(result)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system(routellm, tmp_path, end):
    for suffix in (".txt", ".csv"):
        path = tmp_path / f"x{suffix}"
        path.write_bytes(end.join(["prompt", "a", "b", ""]).encode())
        found = scored(routellm("score", "--file", str(path), "--router", "length", "--format", "jsonl"))
        assert found[-2:] == ["a", "b"]


def test_parquet_with_missing_values(routellm, tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pandas.DataFrame({"prompt": ["a", None]}).to_parquet(tmp_path / "x.parquet")
    error = refused(routellm("score", "--file", str(tmp_path / "x.parquet")))
    assert "row 2: 'prompt' must be text, not NoneType" in error


def test_standard_input_that_is_no_text(routellm):
    assert "is not UTF-8 text" in refused(routellm("score", "--file", "-", stdin=b"caf\xe9\n"))


def test_missing_file_and_folder(routellm, tmp_path):
    (tmp_path / "folder.txt").mkdir()
    for path in ("nothing.txt", str(tmp_path / "folder.txt")):
        assert f"--file {path!r}: there is no such file" in refused(routellm("score", "--file", path))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_file_that_may_not_be_read(routellm, tmp_path):
    path = write(tmp_path / "x.txt", ["a"])
    path.chmod(0)
    assert "cannot be read: Permission denied" in refused(routellm("score", "--file", str(path)))


def test_no_prompt_at_all(routellm):
    assert "there is no prompt" in refused(routellm("score"))


def test_prompt_that_cannot_be_encoded(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"prompt": "\\ud800 x"}\n')
    for output in ("jsonl", "table"):
        command = [sys.executable, "-c", "from routellm_core.cli import main; main()", "score", "--file", str(path)]
        done = subprocess.run(
            [*command, b"caf\xe9", "--format", output], capture_output=True, env={"LC_ALL": "C.UTF-8"}
        )
        assert (done.returncode, done.stderr) == (0, b"")
        if output == "jsonl":
            assert [row["prompt"] for row in rows(done.stdout.decode())] == ["caf\udce9", "\ud800 x"]


def test_output_that_is_cut_off_leaves_no_traceback():
    code = "from routellm_core.cli import main; main()"
    command = f"yes prompt | head -5000 | {sys.executable} -c '{code}' score --file - --router random --format jsonl | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr


# --- routers --------------------------------------------------------------------------------------------------------


def test_unknown_router(routellm):
    error = refused(routellm("score", "Hi!", "--router", "defualt"))
    assert error.startswith("error: router='defualt' is no registered name (")
    assert error.count("\n") == 1


def test_router_in_a_folder(routellm, tmp_path):
    RandomRouter(5).save_pretrained(tmp_path / "mine")
    _, out, _ = routellm("score", "Hi!", "--router", str(tmp_path / "mine"), "--format", "jsonl")
    assert rows(out)[0]["strong_win_rate"] == RandomRouter(5).strong_win_rate("Hi!")


def test_router_without_calibration_needs_a_threshold(routellm, monkeypatch):
    monkeypatch.setattr(score, "load_router", lambda _: load_router("length", max_characters=10))
    assert "router 'length' is not calibrated: give a --threshold" in refused(routellm("score", "Hi!"))
    assert routellm("score", "Hi!", "--threshold", "0.2")[0] == 0


class Pool(PoolRouter):
    score_kind = "correctness"
    name = "pool"
    models = ("small", "large [v2]")

    def score(self, prompts):
        import numpy as np

        return np.array([[0.5, min(1.0, len(prompt) / 10)] for prompt in prompts])


def test_pool_router(routellm, monkeypatch):
    monkeypatch.setattr(score, "load_router", lambda _: Pool())
    code, out, _ = routellm("score", "Hi!", "Hello there", "Hello", "--format", "jsonl")
    assert code == 0
    assert rows(out) == [
        {"prompt": "Hi!", "router": "pool", "scores": {"small": 0.5, "large [v2]": 0.3}, "choice": "small"},
        {
            "prompt": "Hello there",
            "router": "pool",
            "scores": {"small": 0.5, "large [v2]": 1.0},
            "choice": "large [v2]",
        },
        {"prompt": "Hello", "router": "pool", "scores": {"small": 0.5, "large [v2]": 0.5}, "choice": "small"},
    ]
    _, table, _ = routellm("score", "Hello there")
    assert table.index("1.0000 large [v2]") < table.index("0.5000 small")
    assert "chooses among 2 models: it takes no --threshold" in refused(routellm("score", "Hi!", "--threshold", "0.5"))


# --- help -----------------------------------------------------------------------------------------------------------


def test_version(routellm):
    assert routellm("--version") == (0, f"{__version__}\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["score", "--help"]])
def test_help_gives_an_example(routellm, arguments):
    code, out, _ = routellm(*arguments)
    assert code == 0
    assert "routellm score '" in out


def test_help_explains_the_words_and_the_routers(routellm):
    _, out, _ = routellm("score", "--help")
    text = " ".join(out.replace("│", " ").split())
    for part in (
        "strong win rate",
        "higher threshold is cheaper",
        *router_names(),
        "--field",
        "JSON lines",
    ):
        assert part in text


@pytest.mark.parametrize("arguments", [["scroe"], ["score", "--nope"], ["score", "Hi!", "--format", "xml"]])
def test_usage_errors(routellm, arguments):
    refused(routellm(*arguments))


def test_the_names_of_many_models_are_legible(routellm, monkeypatch):
    class Many(PoolRouter):
        name, score_kind = "many", "correctness"
        models = tuple(f"llama-3.{i}-instruct-of-some-size" for i in range(12))

        def score(self, prompts):
            return np.tile(np.arange(12) / 12, (len(prompts), 1))

    monkeypatch.setattr(score, "load_router", lambda _: Many())
    _, out, _ = routellm("score", "Hi!")
    lines = [line for line in out.splitlines() if "llama" in line]
    assert len(lines) == 12
    assert "0.9167 llama-3.11-instruct-of-some-size" in lines[0]
