import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest

from routellm_core import load_router
from routellm_core.cli import main
from routellm_core.preferences.battles import write_battles
from routellm_core.preferences.outcomes import OutcomeTable, read_outcomes, write_outcomes
from routellm_core.training.trainers import TRAINERS
from support.hub_server import HubServer, hub_client
from support.outcomes import topic_table

EASY = ["capital of France", "colour of the sky", "name of a small dog", "author of Hamlet"]
HARD = ["proof of the theorem", "integral of the function", "complexity of the algorithm", "derivation of the equation"]


@pytest.fixture(scope="module")
def outcomes():
    """Both models know what is easy; only "big" can do what is hard."""
    generator = np.random.default_rng(0)
    prompts, scores = [], []
    for i in range(400):
        hard = bool(i % 2)
        topic = (HARD if hard else EASY)[i // 2 % 4]
        prompts.append(f"Question {i}: what is the {topic}?")
        scores.append([generator.random() < 0.9, generator.random() < (0.1 if hard else 0.9)])
    return OutcomeTable(prompts=tuple(prompts), models=("big", "small"), scores=np.array(scores, float), name="logged")


@pytest.fixture(scope="module")
def table(outcomes, tmp_path_factory):
    return str(write_outcomes(outcomes, tmp_path_factory.mktemp("data") / "outcomes.csv"))


@pytest.fixture
def routellm(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["routellm", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code or 0, captured.out, captured.err

    return run


def train(routellm, *arguments):
    code, out, err = routellm("train", *arguments, "--format", "json")
    assert code == 0, err
    return json.loads(out)


@pytest.mark.parametrize(
    ("router", "options"),
    [
        ("default", []),
        ("mf", ["--set", "epochs=20"]),
        ("mf", ["--recipe", "paper", "--set", "learning_rate=0.003", "--set", "validation_fraction=0.2"]),
        ("sw_ranking", ["--set", "validation_fraction=0.2"]),
    ],
)
def test_the_reports_numbers_are_reproduced_by_evaluate(routellm, table, tmp_path, router, options):
    out = tmp_path / "router"
    report = train(
        routellm, "--router", router, "--data", table, "--strong", "big", "--weak", "small", "--out", out, *options
    )
    assert {path.name for path in out.iterdir()} == {
        "README.md", "config.json", "model.safetensors", "training_report.json", "learning_curve.png", "calibration.png",
        "held_out.jsonl",
    }  # fmt: skip
    code, printed, err = routellm(
        "evaluate", "--router", out, "--benchmark", out / "held_out.jsonl", "--strong", "big", "--weak", "small",
        "--format", "json", "--no-cache",
    )  # fmt: skip
    assert code == 0, err
    found = next(iter(json.loads(printed)["routers"].values()))
    figures = report["metrics"]["reference pair"]
    assert {name: found[name] for name in ("apgr", "cpt50", "cpt80")} == {
        name: figures[name] for name in ("apgr", "cpt50", "cpt80")
    }
    assert report["validation_loss"] < report["baseline_loss"]
    assert figures["apgr"]["value"] > 0.6


def test_a_router_pushed_and_pulled_elsewhere_scores_the_same_to_the_last_bit(routellm, table, outcomes, tmp_path):
    train(routellm, "--router", "mf", "--data", table, "--out", tmp_path / "mf")
    router = load_router(tmp_path / "mf")
    with HubServer(tokens={"secret": "ada"}) as hub, hub_client(hub.url, home=tmp_path / "home"):
        router.push_to_hub("ada/trained", token="secret")
        pulled = load_router("ada/trained", token="secret", cache_dir=tmp_path / "elsewhere")
        assert (pulled.score(outcomes.prompts) == router.score(outcomes.prompts)).all()
        assert pulled.thresholds == router.thresholds
        assert pulled.fingerprint == router.fingerprint


def test_battles_train_as_outcomes_do(routellm, outcomes, tmp_path):
    battles = write_battles(outcomes.to_battles(), tmp_path / "battles.jsonl")
    report = train(routellm, "--router", "default", "--data", battles, "--out", tmp_path / "out")
    assert report["validation_loss"] < report["baseline_loss"]
    code, _, err = routellm("train", "--router", "knn", "--data", battles, "--out", tmp_path / "knn")
    assert code == 2
    assert "'knn' learns from outcomes" in err


@pytest.mark.parametrize("router", ["mf", "default"])
def test_what_the_table_calls_held_out_is_held_out(routellm, outcomes, tmp_path, router):
    split = tuple("dev" if i < 100 else "train" for i in range(len(outcomes)))
    marked = OutcomeTable(prompts=outcomes.prompts, models=outcomes.models, scores=outcomes.scores, split=split)
    data = write_outcomes(marked, tmp_path / "outcomes.csv")
    report = train(routellm, "--router", router, "--data", data, "--out", tmp_path / "out")
    assert report["counts"]["validation prompts"] == 100
    assert set(read_outcomes(tmp_path / "out" / "held_out.jsonl").prompts) == set(outcomes.prompts[:100])


def test_a_dry_run_checks_everything_and_writes_nothing(routellm, table, tmp_path):
    out = tmp_path / "out"
    code, printed, _ = routellm(
        "train", "--router", "mf", "--data", table, "--out", out, "--dry-run", "--format", "json", "--seed", "7"
    )
    shown = json.loads(printed)
    assert code == 0
    assert shown["settings"]["seed"] == 7
    assert "400 battles" in shown["training"]
    assert not out.exists()


def test_an_interrupted_run_is_resumed(routellm, table, tmp_path, monkeypatch):
    from routellm_core.training.descent import Descent

    whole = train(routellm, "--router", "mf", "--data", table, "--out", tmp_path / "whole")
    original = Descent._epoch
    monkeypatch.setattr(Descent, "_epoch", lambda self, epoch: original(self, epoch) if epoch < 2 else _interrupt())
    code, _, _ = routellm("train", "--router", "mf", "--data", table, "--out", tmp_path / "cut")
    assert code != 0
    assert not (tmp_path / "cut" / "config.json").exists()
    monkeypatch.setattr(Descent, "_epoch", original)
    resumed = train(routellm, "--router", "mf", "--data", table, "--out", tmp_path / "cut", "--resume")
    assert resumed["history"] == whole["history"]
    assert load_router(tmp_path / "cut").fingerprint == load_router(tmp_path / "whole").fingerprint
    assert not (tmp_path / "cut" / ".training").exists()


def _interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--router", "length"], "--router 'length' cannot be trained; there are: mf, sw_ranking, default"),
        (["--router", "mf", "--set", "rank=3"], "there is no setting 'rank'; there are: dim, epochs"),
        (["--router", "mf", "--set", "dim=small"], "setting dim='small': Input should be a valid integer"),
        (["--router", "mf", "--set", "dim"], "--set 'dim' must be NAME=VALUE"),
        (["--router", "mf", "--recipe", "arena"], "recipe must be one of"),
        (["--router", "sw_ranking", "--recipe", "paper"], "this router has no recipes"),
        (["--router", "mf", "--embedder", "magic"], "--embedder 'magic' must be default, openai:MODEL"),
        (["--router", "default", "--strong", "huge", "--weak", "small"], "has no model 'huge'; it has: big, small"),
        (["--router", "default", "--resume"], "trains in one go: there is nothing to --resume"),
        (["--router", "bert"], "fine-tunes a transformer: say which with --model"),
        (["--router", "knn", "--strong", "big"], "--strong is for a pair"),
    ],
)
def test_what_is_wrong_is_named(routellm, table, tmp_path, arguments, message):
    code, _, err = routellm("train", "--data", table, "--out", tmp_path / "out", *arguments)
    assert code == 2
    assert message in " ".join(err.split())
    assert not (tmp_path / "out" / "config.json").exists()


def test_a_missing_file_and_a_bad_row_are_named(routellm, tmp_path):
    code, _, err = routellm("train", "--router", "mf", "--data", tmp_path / "none.csv", "--out", tmp_path / "out")
    assert code == 2
    assert "none.csv" in err
    bad = tmp_path / "bad.csv"
    bad.write_text("prompt,model_a,model_b,winner\nHi,a,b,model_a\nHo,a,b,left\n")
    code, _, err = routellm("train", "--router", "mf", "--data", bad, "--out", tmp_path / "out")
    assert code == 2
    assert "'left'" in err
    assert "row" in err or "line" in err


def test_every_trainer_is_where_the_table_says_once_it_is_there():
    for name in ("mf", "sw_ranking", "default"):
        assert callable(TRAINERS[name].settings_class())


def test_the_help_names_the_routers(routellm):
    code, out, _ = routellm("train", "--help")
    assert code == 0
    assert "sw_ranking" in out
    assert "--resume" in out


@pytest.mark.parametrize(
    ("router", "setting", "message"),
    [
        ("mlp", "hidden=3", r"setting hidden=3: .*Sequence"),
        ("mlp", 'learning_rate="x"', "setting learning_rate='x': .*number"),
        ("mlp", "hidden=[0]", r"hidden\[0\] must be 1 or more, not 0"),
        ("knn", 'shrinkage="x"', "setting shrinkage='x'"),
        ("knn", 'confidence="no"', "setting confidence='no': .*boolean"),
        ("knn", 'threshold="x"', "setting threshold='x'"),
        ("multilabel", "penalties=3", "setting penalties=3"),
        ("mf", "epochs=1.5", "setting epochs=1.5: .*integer"),
    ],
)
def test_settings_of_another_kind_are_named(routellm, table, tmp_path, router, setting, message):
    code, _, err = routellm("train", "--router", router, "--data", table, "--out", tmp_path / "out", "--set", setting)
    assert code == 2
    assert re.search(message, err.replace("\n", " "))
    assert not (tmp_path / "out").exists()


def test_clusters_of_words(routellm, table, tmp_path):
    report = train(
        routellm, "--router", "cluster", "--embedder", "tfidf", "--data", table, "--out", tmp_path / "words",
        "--set", "clusters=[2, 4]",
    )  # fmt: skip
    assert report["validation_loss"] < report["baseline_loss"]
    assert load_router(tmp_path / "words").embedder.id.startswith("tfidf:")
    code, _, err = routellm(
        "train", "--router", "knn", "--embedder", "tfidf", "--data", table, "--out", tmp_path / "knn"
    )
    assert code == 2
    assert "--embedder 'tfidf' must be default" in err


@pytest.fixture(scope="module")
def topics(tmp_path_factory):
    """Three models of which each is right on one topic; every third prompt is held out."""
    made = topic_table(180, noise=0.05)
    split = tuple("dev" if row % 3 == 0 else "train" for row in range(180))
    return str(write_outcomes(replace(made, split=split), tmp_path_factory.mktemp("data") / "topics.jsonl"))


@pytest.mark.parametrize(
    ("router", "settings"),
    [
        ("knn", {"k": [4, 8]}),
        ("mlp", {"hidden": [16], "epochs": 30, "learning_rate": 0.01, "confidence": False}),
        ("cluster", {"clusters": [3, 6], "min_size": 5}),
        ("multilabel", {"penalties": [0.1, 1.0]}),
        ("multilabel", {"head": "multiclass"}),
        ("separate", {"penalties": [0.1, 1.0]}),
    ],
)
def test_a_pool_router_is_trained_and_evaluated_against_its_bounds(routellm, topics, tmp_path, router, settings):
    given = [part for name, value in settings.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    report = train(routellm, "--router", router, "--data", topics, "--out", tmp_path / "out", *given)
    assert report["counts"]["prompts"] == 120
    assert report["validation_loss"] < report["baseline_loss"]
    prices = {"mathematician": 1, "poet": 2, "programmer": 30}
    code, printed, err = routellm(
        "evaluate", "--router", tmp_path / "out", "--benchmark", topics, "--split", "dev", "--bootstrap", "50",
        *(part for model, price in prices.items() for part in ("--price", f"{model}={price}")),
        *(part for model, price in prices.items() for part in ("--parameters", f"{model}={price}")),
        "--format", "json", "--no-cache",
    )  # fmt: skip
    assert code == 0, err
    result = json.loads(printed)
    [found] = result["routers"].values()
    assert result["n"] == 60
    assert result["baselines"]["best_single"]["chosen_on"] == "120 other prompts"
    assert found["gain"]["low"] > 0
    assert sum(found["calls"].values()) == pytest.approx(1)
    assert found["mean_parameters"]["value"] == pytest.approx(sum(found["calls"][m] * prices[m] for m in prices))
    assert ("classifier_bound" in found) == (settings.get("head") != "multiclass")
    frontier = found["frontier"]
    assert frontier == sorted(frontier, key=lambda point: point["mean_cost"])
    assert frontier[0]["quality"] == pytest.approx(result["baselines"]["cheapest"]["quality"]["value"])
    assert found["quality"]["value"] in [pytest.approx(point["quality"]) for point in frontier]
    low, high = (result["baselines"][name]["quality"]["value"] for name in ("cheapest", "oracle"))
    assert low < found["aiq"]["value"] < high
