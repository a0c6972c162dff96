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
from support.embeddings_server import EmbeddingsServer
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
        "held_out.jsonl", "held_out.jsonl.provenance.json",
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
    # One battle a prompt and one pair: the losses of the report are these, too.
    overall = {
        "log_loss": report["validation_loss"],
        "prompt_blind_log_loss": report["baseline_loss"],
        "log_loss_gain": report["metrics"]["log loss gained over it"]["value"],
    }
    for name, value in overall.items():
        assert found[name] == pytest.approx(figures[name], abs=1e-6)
        assert found[name]["value"] == pytest.approx(value, abs=1e-6)
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]
    assert found["log_loss_gain"] == pytest.approx(report["metrics"]["log loss gained over it"], abs=1e-6)
    code, printed, _ = routellm(
        "evaluate", "--router", out, "--benchmark", out / "held_out.jsonl", "--strong", "big", "--weak", "small",
        "--no-cache",
    )  # fmt: skip
    for name in overall:
        assert f"{figures[name]['value']:.3f}" in printed


def test_the_pairs_losses_are_those_of_evaluate_where_models_are_many(routellm, tmp_path):
    generator = np.random.default_rng(1)
    prompts = [f"Question {i} on {('maths', 'poems')[i % 2]}" for i in range(200)]
    scores = np.stack([[generator.random() < (0.9 if i % 2 == m % 2 else 0.4) for m in range(3)] for i in range(200)])
    many = OutcomeTable(prompts=tuple(prompts), models=("a", "b", "c"), scores=scores.astype(float))
    data = write_outcomes(many, tmp_path / "many.csv")
    report = train(routellm, "--router", "mf", "--data", data, "--strong", "a", "--weak", "b", "--out", tmp_path / "mf")
    figures = report["metrics"]["reference pair"]
    assert figures["log_loss"]["value"] != pytest.approx(report["validation_loss"], abs=1e-4)  # of all three pairs
    for strong, weak, told in (("a", "b", True), ("b", "a", True), ("a", "c", False)):
        code, printed, _ = routellm(
            "evaluate", "--router", tmp_path / "mf", "--benchmark",
            tmp_path / "mf" / "held_out.jsonl" if told else data, "--strong", strong, "--weak", weak,
            "--format", "json", "--no-cache",
        )  # fmt: skip
        assert code == 0
        [found] = json.loads(printed)["routers"].values()
        assert ("log_loss" in found) == told
        if strong == "a" and told:
            assert {name: found[name] for name in figures if "log_loss" in name} == {
                name: pytest.approx(figures[name], abs=1e-6) for name in figures if "log_loss" in name
            }
        elif told:  # the other way round, the one win rate is the other model's
            assert found["prompt_blind_log_loss"] == pytest.approx(figures["prompt_blind_log_loss"], abs=1e-9)


def test_a_pool_router_does_not_inherit_what_was_held_out_for_another(routellm, table, tmp_path):
    train(routellm, "--router", "mf", "--data", table, "--out", tmp_path / "r", "--set", "epochs=1")
    assert (tmp_path / "r" / "held_out.jsonl").is_file()
    train(routellm, "--router", "knn", "--data", table, "--out", tmp_path / "r")
    assert not [path.name for path in (tmp_path / "r").iterdir() if path.name.startswith("held_out")]


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
    assert "360 battles" in shown["training"]
    assert "40 battles" in shown["validation"]
    assert not out.exists()


HEADER = "prompt,model_a,model_b,winner\n"


@pytest.mark.parametrize(
    ("name", "content", "router", "message"),
    [
        ("x.csv", HEADER, "mf", "x.csv has no rows"),
        ("x.jsonl", "", "mf", "x.jsonl has no rows"),
        ("x.csv", "prompt,score::a,score::b\n", "knn", "x.csv has no rows"),
        ("x.csv", "prompt,score::a,score::b\n", "default", "x.csv has no rows"),
        ("x.csv", "prompt,score::a,score::b\np,1,0\n", "knn", "two different prompts"),
        ("x.csv", "prompt,score::a,score::b\np,1,0\nq,7,0\n", "knn", "is not in [0, 1]"),
        ("x.csv", HEADER + "p,a,b,tie\nq,a,b,tie\n", "mf", "reference_strong='gpt-9' has no battle"),
        ("x.csv", "prompt,model_a,model_b,winner,weight\np,a,b,tie,0\nq,a,b,tie,0\n", "mf", "has the weight 0"),
        ("x.csv", HEADER + "p,a,b,tie\n", "mf", ""),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_a_dry_run_refuses_what_training_refuses(routellm, tmp_path, name, content, router, message, dry):
    (tmp_path / name).write_text(content)
    pair = ["--strong", "gpt-9"] if "gpt-9" in message else []
    code, out, err = routellm(
        "train", "--router", router, "--data", tmp_path / name, "--out", tmp_path / "out", *pair, *["--dry-run"] * dry
    )
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("router", ["mf", "knn"])
def test_an_out_that_cannot_be_is_named_before_anything_is_learned(routellm, table, tmp_path, monkeypatch, router):
    monkeypatch.setattr(type(TRAINERS["mf"]), "run", lambda *_, **__: pytest.fail("it was trained"))
    (tmp_path / "file").write_text("mine")
    for dry in ([], ["--dry-run"]):
        code, _, err = routellm("train", "--router", router, "--data", table, "--out", tmp_path / "file", *dry)
        assert code == 2
        assert "is a file: name a folder" in " ".join(err.split())
    code, _, err = routellm("train", "--router", router, "--data", table, "--out", tmp_path / "file" / "below")
    assert code == 2
    assert "cannot be written" in err
    assert "name a folder that can be made" in " ".join(err.split())
    assert (tmp_path / "file").read_text() == "mine"


def test_a_disk_that_is_full_is_an_error_and_no_traceback(routellm, table, tmp_path, monkeypatch):
    from routellm_core.training.resume import TrainingState

    def full(self, *_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TrainingState, "save", full)
    code, _, err = routellm("train", "--router", "mf", "--data", table, "--out", tmp_path / "out")
    assert code == 2
    assert "No space left on device; name a folder" in " ".join(err.split())


def test_a_resume_with_nothing_to_go_on_with_says_so(routellm, table, tmp_path):
    for _ in range(2):  # the second time a finished run is there
        code, out, err = routellm(
            "train", "--router", "mf", "--data", table, "--out", tmp_path / "out", "--resume", "--set", "epochs=1",
            "--format", "json",
        )  # fmt: skip
        assert code == 0
        assert "holds no unfinished run: training begins anew" in " ".join(err.split())
        assert json.loads(out)["validation_loss"] > 0


def test_an_interrupted_run_is_resumed(routellm, table, tmp_path, monkeypatch):
    from routellm_core.training.descent import Descent

    whole = train(routellm, "--router", "mf", "--data", table, "--out", tmp_path / "whole")
    original = Descent._epoch
    monkeypatch.setattr(Descent, "_epoch", lambda self, epoch: original(self, epoch) if epoch < 2 else _interrupt())
    code, _, _ = routellm("train", "--router", "mf", "--data", table, "--out", tmp_path / "cut")
    assert code != 0
    assert not (tmp_path / "cut" / "config.json").exists()
    monkeypatch.setattr(Descent, "_epoch", original)
    code, out, err = routellm(
        "train", "--router", "mf", "--data", table, "--out", tmp_path / "cut", "--resume", "--format", "json"
    )
    assert (code, "anew" in err) == (0, False)
    resumed = json.loads(out)
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
        *(
            (["--router", router, "--resume"], "trains in one go: there is nothing to --resume")
            for router in ("default", "sw_ranking", "knn", "mlp", "cluster", "multilabel", "separate")
        ),
        (["--router", "mf", "--embedding-cache", "x"], "--embedding-cache says nothing with --embedder default"),
        (
            ["--router", "cluster", "--embedder", "tfidf", "--embedding-cache", "x"],
            "--embedding-cache says nothing with --embedder tfidf",
        ),
        (
            ["--router", "bert", "--model", "m", "--embedding-cache", "x"],
            "--embedding-cache says nothing with a router",
        ),
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


def test_what_was_embedded_before_a_crash_is_not_paid_twice(routellm, outcomes, tmp_path, monkeypatch):
    openai = pytest.importorskip("openai")
    pytest.importorskip("lmdb")
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setattr("routellm_core.embedders.cache._PIECE", 100)
    data = write_outcomes(outcomes, tmp_path / "outcomes.csv")
    arguments = (
        "train", "--router", "mf", "--data", data, "--embedder", "openai:text-embedding-3-small", "--set", "epochs=1",
        "--embedding-cache", tmp_path / "vectors", "--out", tmp_path / "out",
    )  # fmt: skip
    with EmbeddingsServer(dimension=1536) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        answer = server.answer

        def refuses(request):
            server.status = 400 if len(server.requests) == 3 else 200
            return answer(request)

        monkeypatch.setattr(server, "answer", refuses)
        with pytest.raises(openai.BadRequestError):
            routellm(*arguments)
        bought = [text for request in server.requests[:2] for text in request["input"]]
        asked = len(server.requests)
        code, _, err = routellm(*arguments)
        assert code == 0, err
        again = [text for request in server.requests[asked:] for text in request["input"]]
    assert len(bought) == 200
    assert sorted(bought + again) == sorted(outcomes.prompts)
    assert load_router(tmp_path / "out").embedder.id == "openai:text-embedding-3-small"


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
