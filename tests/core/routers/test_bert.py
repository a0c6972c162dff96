import json
import subprocess
import sys

import numpy as np
import pytest

from routellm_core import Router, ThresholdTable, load_router
from routellm_core.checkpoints.published import BERT_REPO
from routellm_core.errors import (
    CheckpointFormatError,
    CheckpointNotFoundError,
    ConfigurationError,
    RouterUnavailableError,
)
from routellm_core.routers.bert import BertRouter
from routellm_core.testing import RouterContract
from support.embedders import HashEmbedder
from support.hub_server import HubServer, hub_client
from support.tiny_transformers import TEXTS, require_torch, write_classifier

require_torch()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_classifier(tmp_path_factory.mktemp("bert") / "checkpoint")


@pytest.fixture(scope="module")
def router(folder):
    return BertRouter(folder)


class TestContract(RouterContract):
    batch_tolerance = 1e-5

    @pytest.fixture(autouse=True)
    def _folder(self, folder):
        self.folder = folder

    def make_router(self) -> Router:
        return BertRouter(self.folder, thresholds=ThresholdTable.uniform(source="a test"))


class TestContractOfTheSigmoid(RouterContract):
    batch_tolerance = 1e-5

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = write_classifier(tmp_path / "checkpoint", labels=1, kind="xlm-roberta")

    def make_router(self) -> Router:
        return BertRouter(self.folder, head="sigmoid")


def literal_logits(folder, text):
    """One prompt the way the published code scores it."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    inputs = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", truncation=True)
    with torch.no_grad():
        return model(**inputs).logits[0].double().numpy()


@pytest.mark.parametrize("text", [*TEXTS, "far too long " * 100])
def test_three_way_is_the_probability_of_the_first_label(router, folder, text):
    odds = np.exp(literal_logits(folder, text))
    assert router.strong_win_rate(text) == pytest.approx(1 - (odds[1] + odds[2]) / odds.sum(), abs=1e-6)


@pytest.mark.parametrize("pad", [0, 5, None])
def test_a_decoder_answers_at_the_last_token_of_each_prompt(tmp_path, pad):
    """It finds that by the padding in its configuration, which may not be the tokenizer's, or by being given one prompt."""
    folder = write_classifier(tmp_path, kind="gpt2", pad=pad)
    router = BertRouter(folder)
    texts = [text for text in TEXTS if text]
    expected = [np.exp(logits)[0] / np.exp(logits).sum() for logits in (literal_logits(folder, text) for text in texts)]
    np.testing.assert_allclose(router.strong_win_rates(texts), expected, rtol=0, atol=1e-6)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(router.strong_win_rates(["", *texts])[1:], expected, rtol=0, atol=1e-6)
    assert 0 <= router.strong_win_rate("") <= 1


def test_sigmoid_of_one_label(tmp_path):
    folder = write_classifier(tmp_path, labels=1)
    router = BertRouter(folder, head="sigmoid")
    expected = [1 / (1 + np.exp(-literal_logits(folder, text)[0])) for text in TEXTS]
    np.testing.assert_allclose(router.strong_win_rates(TEXTS), expected, rtol=0, atol=1e-6)
    assert np.ptp(expected) > 0.1


def test_mixed_lengths_keep_the_order_of_the_prompts(router):
    prompts = [f"{'word ' * (7 * i % 40)} {i}" for i in range(40)]
    alone = [router.strong_win_rate(prompt) for prompt in prompts]
    np.testing.assert_allclose(router.strong_win_rates(prompts), alone, rtol=0, atol=1e-5)
    assert np.ptp(alone) > 0.1


def test_what_lies_beyond_the_longest_input_is_not_read(folder):
    router = BertRouter(folder, max_length=20)
    assert router.max_length == 20
    start = "one two three four five six seven eight nine ten " * 3
    assert router.strong_win_rate(start + "x") == router.strong_win_rate(start + "entirely different")


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_longest_input_is_what_the_model_takes(tmp_path, kind):
    """Also where the tokenizer does not say it, and where positions are reserved for padding."""
    folder = write_classifier(tmp_path, kind=kind, limit=48)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": int(1e30)}))
    router = BertRouter(folder)
    assert router.max_length == 48
    assert 0 <= router.strong_win_rate("long " * 500) <= 1


def test_dtype(folder, router):
    halved = BertRouter(folder, dtype="bfloat16")
    np.testing.assert_allclose(halved.strong_win_rates(TEXTS), router.strong_win_rates(TEXTS), rtol=0, atol=0.1)
    assert halved.fingerprint != router.fingerprint
    assert halved.save_pretrained(folder.parent / "halved")
    assert load_router(folder.parent / "halved").dtype == "bfloat16"


def test_plain_folder_and_our_format_load_alike(router, folder, tmp_path):
    plain = load_router(folder)
    assert (plain.name, plain.head, plain.models) == ("bert", "3way", ("weak", "strong"))
    ours = load_router(router.save_pretrained(tmp_path / "ours"))
    for other in (plain, ours):
        np.testing.assert_array_equal(other.strong_win_rates(TEXTS), router.strong_win_rates(TEXTS))
        assert other.fingerprint == router.fingerprint


def test_one_label_in_a_plain_folder_is_the_sigmoid(tmp_path):
    assert load_router(write_classifier(tmp_path, labels=1)).head == "sigmoid"


def test_two_labels_in_a_plain_folder_are_refused(tmp_path):
    with pytest.raises(CheckpointFormatError, match="has 2 labels; a router has 3"):
        load_router(write_classifier(tmp_path, labels=2))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"head": "softmax"}, r"head must be one of \('3way', 'sigmoid'\), not 'softmax'"),
        ({"head": "sigmoid"}, "head='sigmoid' needs a classifier with 1 labels, and this one has 3"),
        ({"device": "cuda:7"}, "device='cuda:7' cannot be used here"),
        ({"device": "abacus"}, "device='abacus' cannot be used here"),
        ({"dtype": "int8"}, "dtype must be one of 'float32', 'bfloat16', 'float16', or None"),
        ({"max_length": 0}, "max_length must be a whole number of 8 or more"),
        ({"max_length": True}, "max_length must be a whole number of 8 or more"),
    ],
)
def test_wrong_arguments(folder, options, match):
    with pytest.raises(ConfigurationError, match=match):
        BertRouter(folder, **options)


def test_wrong_device_is_no_fault_of_the_checkpoint(folder):
    with pytest.raises(ConfigurationError, match="cannot be used here") as caught:
        BertRouter.from_pretrained(folder, device="abacus")
    assert not isinstance(caught.value, CheckpointFormatError)


def test_a_stored_one_takes_device_and_dtype(router, tmp_path):
    stored = router.save_pretrained(tmp_path / "router")
    loaded = load_router(stored, device="cpu", dtype="bfloat16")
    assert (loaded.device.type, loaded.dtype) == ("cpu", "bfloat16")
    assert str(loaded._model.dtype) == "torch.bfloat16"
    with pytest.raises(ConfigurationError, match="device='abacus' cannot be used here"):
        load_router(stored, device="abacus")
    for load in (load_router, BertRouter.from_pretrained):
        with pytest.raises(
            ConfigurationError, match="takes the options device, dtype, tokenizer alone, and not max_length"
        ):
            load(stored, max_length=8)


def test_one_string_is_refused(router):
    with pytest.raises(ConfigurationError, match="must be a list of strings"):
        router.strong_win_rates("Hi!")


def test_embedder_is_refused(folder):
    with pytest.raises(ConfigurationError, match="takes no embedder"):
        load_router(folder, embedder=HashEmbedder())


def test_model_without_its_classifier_is_refused(tmp_path):
    """transformers would fill the gap with random numbers."""
    from safetensors.torch import load_file, save_file

    folder = write_classifier(tmp_path)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if "classifier" not in k}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(CheckpointFormatError, match="has no weights for classifier"):
        BertRouter(folder)


def test_code_in_a_checkpoint_is_never_run(tmp_path):
    folder = write_classifier(tmp_path)
    marker = tmp_path / "was_run"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    path = folder / "config.json"
    changes = {"model_type": "evil", "auto_map": dict.fromkeys(
        ("AutoConfig", "AutoModelForSequenceClassification"), "evil.Evil")}  # fmt: skip
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(CheckpointFormatError, match="code of its own, which is never done here"):
        BertRouter(folder)
    assert not marker.exists()


def test_tokenizer_is_missing(tmp_path):
    folder = write_classifier(tmp_path)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointNotFoundError, match=r"has no tokenizer.*give tokenizer="):
        BertRouter(folder)


def test_the_tokenizer_may_be_elsewhere(router, tmp_path):
    whole, bare = write_classifier(tmp_path / "whole"), write_classifier(tmp_path / "bare")
    (bare / "tokenizer.json").rename(tmp_path / "tokenizer.json")
    for options in ({"tokenizer": whole}, {"tokenizer": str(whole)}):
        assert BertRouter(bare, **options).strong_win_rates(["Hi!"]) == BertRouter(whole).strong_win_rates(["Hi!"])


# --- by name and from the Hub ---------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path):
    with HubServer(tokens={"hf_ada": "ada"}) as server, hub_client(server.url, tmp_path / "home"):
        yield server


def published(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_by_name_from_the_hub(hub, router, folder):
    pinned = hub.commit(BERT_REPO, published(folder))
    hub.commit(BERT_REPO, {"config.json": b"broken"})
    loaded = load_router("bert", revision=pinned, device="cpu")
    np.testing.assert_array_equal(loaded.strong_win_rates(TEXTS), router.strong_win_rates(TEXTS))
    assert loaded.models == ("mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview")
    with pytest.raises(RouterUnavailableError, match=r"'bert' cannot be loaded.*not valid JSON.*'default'"):
        load_router("bert")


def test_by_name_offline(hub):
    with pytest.raises(RouterUnavailableError, match=r"local_files_only.*'default' needs no network"):
        load_router("bert", local_files_only=True)


def test_pushed_and_loaded_from_the_hub(hub, router):
    router.push_to_hub("ada/classifier", token="hf_ada")
    loaded = load_router("ada/classifier")
    np.testing.assert_array_equal(loaded.strong_win_rates(TEXTS), router.strong_win_rates(TEXTS))
    assert loaded.fingerprint == router.fingerprint


def test_without_the_extra_the_remedy_is_named(tmp_path):
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from routellm_core import load_router\n"
        "try:\n    load_router('bert')\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "RouterUnavailableError" in run.stdout
    assert 'pip install "routellm-plugins[torch]"' in run.stdout
