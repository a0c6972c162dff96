import json
import subprocess
import sys

import numpy as np
import pytest

from routellm_core import load_router
from routellm_core.embedders.bundled import BundledEmbedder
from routellm_core.errors import CheckpointFormatError, ConfigurationError, EmbedderMismatchError
from routellm_core.routers.default import ASSET, CorrectnessHeads, DefaultRouter
from routellm_core.routers.prompt_features import STATISTICS, prompt_statistics
from routellm_core.routers.prompt_paragraphs import asking_paragraphs
from routellm_core.routers.prompt_reading import FORMS, read
from support.embedders import HashEmbedder

PROMPTS = ["Hi!", "What is the capital of France?", "Prove that there are infinitely many primes.", "", "\ud800"]


def test_works_without_any_socket(tmp_path):
    code = f"""
import json, pytest_socket
pytest_socket.disable_socket(allow_unix_socket=False)
import socket
try:
    socket.socket()
except pytest_socket.SocketBlockedError:
    from routellm_core import load_router
    router = load_router("default")
    print(json.dumps([router.fingerprint, router.strong_win_rates({PROMPTS!r}).tolist()]))
"""
    # A home of its own: nothing that an earlier run may have downloaded can help.
    run = subprocess.run(
        [sys.executable, "-c", code], env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    router = load_router("default")
    assert json.loads(run.stdout) == [router.fingerprint, router.strong_win_rates(PROMPTS).tolist()]
    assert not list(tmp_path.iterdir())


def test_asset_is_small_and_complete():
    assert sum(path.stat().st_size for path in ASSET.iterdir()) < 1_000_000
    assert {path.name for path in ASSET.iterdir()} == {"README.md", "config.json", "model.safetensors"}


def test_card_says_what_it_was_trained_on_and_how_well_it_does():
    card, config = (ASSET / "README.md").read_text(), json.loads((ASSET / "config.json").read_text())
    for line in ("## How it was made", "## How well it does", "licences", "held-out", "APGR", "CPT50", "intervals"):
        assert line in card
    assert config["metrics"]
    assert config["provenance"]["script"] == "scripts/train_default.py"


def test_is_calibrated_and_tells_prompts_apart():
    router = load_router("default")
    rates = router.strong_win_rates([f"question number {i} about {'abcdefgh'[i % 8] * i}" for i in range(200)])
    assert np.ptp(rates) > 0.02
    table = router.thresholds
    assert 0.3 < table.threshold_for(0.5) < 0.8
    assert table.n_prompts > 100


def heads(dimension=4, **changes):
    rng = np.random.default_rng(0)
    k = len(STATISTICS)
    parts = {
        "intercepts": rng.normal(size=2),
        "statistics": rng.normal(size=(2, k)),
        "center": rng.normal(size=k),
        "scale": rng.random(k) + 0.5,
        "embedding": rng.normal(size=(2, dimension)),
    }
    return CorrectnessHeads(**(parts | changes))


def test_literal_formula():
    those, embedder = heads(), HashEmbedder(4)
    router = DefaultRouter({"all": those}, dict.fromkeys(FORMS, "all"), embedder=embedder)
    for prompt in PROMPTS:
        reading = read(prompt)
        statistics = np.clip((prompt_statistics([reading])[0] - those.center) / those.scale, -4, 4)
        weak, strong = (
            1
            / (
                1
                + np.exp(
                    -(
                        those.intercepts[head]
                        + those.statistics[head] @ statistics
                        + those.embedding[head] @ embedder.embed([reading.text])[0]
                    )
                )
            )
            for head in (0, 1)
        )
        expected = strong * (1 - weak) + 0.5 * (strong * weak + (1 - strong) * (1 - weak))
        assert router.strong_win_rate(prompt) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("prompt", "form"),
    [
        ("Which is a gas?\nA. Iron\nB. Neon\nAnswer:", "choices"),
        ("Which?\n" + "\n".join(f"{letter}. {letter * 3}" for letter in "ABCDEFGHIJ"), "many choices"),
        ("Ann has 3 apples and buys two more. How many apples does she have?", "quantities"),
        ("Write a poem about the sea.", "free"),
        ("", "free"),
    ],
)
def test_the_form_of_a_prompt(prompt, form):
    assert read(prompt).form == form


def test_what_is_pasted_around_a_question_is_not_read():
    filler = "This message was sent from a shared mailbox. We look forward to hearing from you soon.\n\n"
    for question in (
        "Which is a gas?\nA. Iron\nB. Neon\nAnswer:",
        "Ann has 3 apples and buys two more. How many apples does she have?",
        "Why do leaves change their colour in autumn?",
        "Write a short poem about the sea.",
    ):
        expected = read(question).text
        assert read(filler + question).text == expected
        assert read(question + "\n\n" + filler).text == expected
        assert read("Hello! " + question + "\nPlease answer briefly.").text == expected
        assert read(question + "\n\nGive a detailed answer and explain your reasoning.").text == expected
        assert read(filler * 60 + question).text == expected  # 5,000 characters


def test_what_a_question_is_about_is_read_with_it():
    for prompt in (
        "Fix the bug:\n\n```python\nx = [1, 2\n```",
        "| goods | price |\n| apples | 3 |\n\nWrite the table as JSON.",
        "Ann has 3 apples and 4 pears.\n\nHow many does she have?",
        "The largest planet is\n\nA. Mars\nB. Jupiter\nAnswer:",
        "Nothing here asks.\n\nNor does this.",
        "What is this?\n\nAnd what is that?",
    ):
        assert asking_paragraphs(prompt) == prompt
    assert asking_paragraphs("It rained.\n \nWhy?\n\n\nIt snowed.") == "Why?"


def test_the_middle_of_a_long_prompt_counts_for_its_length():
    assert read("word " * 2000).length == pytest.approx(10_000, abs=1)
    assert read("The sky is blue. " * 400 + "\n\nWhy?").length == len("Why?")


@pytest.mark.parametrize(
    "prompt",
    [
        "Was ist die Hauptstadt von Frankreich und wie viele Menschen wohnen dort?",
        "¿Cuál es la capital de Francia y por qué es una ciudad importante para los franceses?",
        "法国的首都是哪里？",  # noqa: RUF001
        "フランスの首都はどこですか。",
        "ما هي عاصمة فرنسا؟",
        "Was soll ich tun, wenn ich im Ausland meinen Pass verliere?",
        "¿Es más sano ir al trabajo a pie o en bicicleta?",
        "Pourquoi les oiseaux peuvent-ils voler ?",
        "Perché gli uccelli possono volare?",
    ],
)
def test_other_languages_are_reported_and_follow_the_policy(prompt):
    router = load_router("default")
    assert router.out_of_domain([prompt, "What is the capital of France?"]).tolist() == [True, False]
    assert router.strong_win_rate(prompt) == router.unread_win_rate >= router.thresholds.threshold_for(0.5)
    trained_by_a_user = DefaultRouter({"all": heads()}, dict.fromkeys(FORMS, "all"), embedder=HashEmbedder(4))
    assert not trained_by_a_user.out_of_domain([prompt]).any()


def test_a_checkpoint_of_the_format_before_says_what_to_do(tmp_path):
    from safetensors.numpy import save_file

    folder = load_router("default").save_pretrained(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"parameters": {}}))
    save_file(
        {"weights": np.ones((2, 241), np.float32), "intercepts": np.ones(2, np.float32)}, folder / "model.safetensors"
    )
    with pytest.raises(CheckpointFormatError, match="train it again"):
        load_router(folder)


def test_only_its_own_embedder_will_do():
    with pytest.raises(EmbedderMismatchError) as caught:
        load_router("default", embedder=HashEmbedder(240))
    assert BundledEmbedder().id in str(caught.value)
    assert "'hash-240' (240 dimensions)" in str(caught.value)


def test_its_own_embedder_may_be_given():
    embedder = BundledEmbedder()
    router = load_router("default", embedder=embedder)
    assert router.embedder is embedder
    assert router.fingerprint == load_router("default").fingerprint


@pytest.mark.parametrize(
    "changes", [{"embedding": np.ones((2, 3))}, {"intercepts": np.ones(3)}, {"statistics": np.ones((1, 2))}]
)
def test_wrong_shapes(changes):
    with pytest.raises(ConfigurationError, match=rf"{next(iter(changes))} has shape .* expected"):
        DefaultRouter({"all": heads(**changes)}, dict.fromkeys(FORMS, "all"), embedder=HashEmbedder(4))


def test_a_form_without_heads_is_named():
    with pytest.raises(ConfigurationError, match="forms without heads: free"):
        DefaultRouter({"all": heads()}, dict.fromkeys(FORMS[:-1], "all"), embedder=HashEmbedder(4))


@pytest.mark.parametrize("symbols", ["$&#@", "œ§Зü"])
def test_choices_behind_other_symbols_are_read_as_behind_letters(symbols):
    plain = "Which is a noble gas?\nA. Iron\nB. Neon\nC. Gold\nD. Zinc\nAnswer:"
    other = plain
    for letter, symbol in zip("ABCD", symbols, strict=True):
        other = other.replace(f"\n{letter}. ", f"\n{symbol}. ")
    assert read(other) == read(plain)
    assert read("Buy:\n*. milk\n*. eggs\n*. tea").form == "free"  # bullets, all the same
