import itertools
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from routellm_core import Router, ThresholdTable, load_router
from routellm_core.checkpoints.published import CAUSAL_LLM_REPO, PROMPT_ASSET
from routellm_core.errors import (
    CheckpointFormatError,
    CheckpointNotFoundError,
    ConfigurationError,
    RouterUnavailableError,
)
from routellm_core.routers.causal_llm import CausalLLMRouter
from routellm_core.routers.label_prompt import LabelPrompt
from routellm_core.testing import RouterContract
from support.embedders import HashEmbedder
from support.hub_server import HubServer, hub_client
from support.tiny_transformers import (
    LABELS,
    TEXTS,
    language_model,
    require_torch,
    steered_model,
    write_published_causal,
)

require_torch()

WIN_TIE_LOSS = ["[[win]]", "[[tie]]", "[[loss]]"]
PLAIN = LabelPrompt(prefix="<|begin_of_text|>Who wins?\n", suffix="\nAnswer:")


def write_own(folder, *, labels=WIN_TIE_LOSS, answers=True, seed=0):
    """A language model that answers with a label at once, or never."""
    model, tokenizer = language_model(seed=seed)
    steered = steered_model()
    steered.add_tokens(model, tokenizer, labels, seed=seed)
    label_ids = tokenizer.convert_tokens_to_ids(labels)
    if answers:
        prompts = [tokenizer.encode(f"{PLAIN.prefix}{text}{PLAIN.suffix}", add_special_tokens=False) for text in TEXTS]
        steered.steer(model, prompts, [], label_ids)
    else:
        model.get_output_embeddings().weight.data[label_ids] = 0.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return write_published_causal(tmp_path_factory.mktemp("published") / "checkpoint", seed=2)


@pytest.fixture(scope="module")
def wild(tmp_path_factory):
    """A model that does not keep to the header."""
    return write_published_causal(tmp_path_factory.mktemp("wild") / "checkpoint", seed=1, follows=False)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return write_own(tmp_path_factory.mktemp("own") / "model")


@pytest.fixture(scope="module")
def router(own):
    return CausalLLMRouter(own, prompt=PLAIN, labels="win_tie_loss")


class TestContract(RouterContract):
    batch_tolerance = 1e-4

    @pytest.fixture(autouse=True)
    def _folder(self, own):
        self.folder = own

    def make_router(self) -> Router:
        table = ThresholdTable.uniform(source="a test")
        return CausalLLMRouter(self.folder, prompt=PLAIN, labels="win_tie_loss", max_length=256, thresholds=table)


@pytest.mark.slow
class TestContractOfThePublished(RouterContract):
    batch_tolerance = 1e-4

    @pytest.fixture(autouse=True)
    def _folder(self, published):
        self.folder = published

    def make_router(self) -> Router:
        return load_router(self.folder)


def greedy(folder, text, *, labels, steps):
    """Decode token by token; return the logits of the labels at the first label, or None."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.encode(text, add_special_tokens=not text.startswith("<|begin_of_text|>"))
    label_ids = tokenizer.convert_tokens_to_ids(labels)
    for _ in range(steps):
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1]
        token = int(logits.argmax())
        if token in label_ids:
            return logits[label_ids].double().numpy()
        if token == model.generation_config.eos_token_id:
            return None
        ids.append(token)
    return None


def probabilities(logits):
    return np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()


@pytest.mark.parametrize("fixture", ["published", "wild"])
def test_one_pass_reads_what_greedy_decoding_writes(fixture, request):
    folder = request.getfixturevalue(fixture)
    system = (PROMPT_ASSET / "system_ft_v5.txt").read_text().strip()
    expected = []
    for text in TEXTS:
        chat = (
            f"<|start_header_id|>system<|end_header_id|>\n\n{system}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
            f"[Question]\n{text}\n\nPrediction:<|eot_id|>"
        )
        logits = greedy(folder, chat, labels=LABELS, steps=6)
        expected.append(1.0 if logits is None else 1 - probabilities(logits)[3:].sum())
    np.testing.assert_allclose(load_router(folder).strong_win_rates(TEXTS), expected, rtol=0, atol=1e-4)
    assert np.ptp(expected) > 0.3
    if fixture == "wild":
        assert 1.0 in expected


def test_win_tie_loss_counts_a_tie_half(router, own):
    expected = []
    for text in TEXTS:
        logits = greedy(own, f"{PLAIN.prefix}{text}{PLAIN.suffix}", labels=WIN_TIE_LOSS, steps=1)
        expected.append(1.0 if logits is None else probabilities(logits) @ [1, 0.5, 0])
    np.testing.assert_allclose(router.strong_win_rates(TEXTS), expected, rtol=0, atol=1e-4)
    assert np.ptp(expected) > 0.1


def test_what_is_no_label_goes_strong(tmp_path):
    folder = write_own(tmp_path, answers=False)
    assert set(CausalLLMRouter(folder, prompt=PLAIN, labels="win_tie_loss").strong_win_rates(TEXTS)) == {1.0}


@pytest.mark.parametrize(
    ("written", "max_new_tokens", "found"),
    [
        (["a", "b", "label"], 3, True),
        (["a", "b", "label"], 2, False),  # one token too late
        (["a", "end", "label"], 6, False),  # the answer was over
    ],
)
def test_label_counts_if_greedy_decoding_would_reach_it(own, monkeypatch, written, max_new_tokens, found):
    import torch

    router = CausalLLMRouter(own, prompt=PLAIN, labels="win_tie_loss", max_new_tokens=max_new_tokens)
    end, loss = router._model.generation_config.eos_token_id, router._label_ids[-1]
    free = (token for token in range(300) if token not in {*router._encode(["Hi!"])[0], end, *router._label_ids})
    ids = {"a": next(free), "b": next(free), "end": end, "label": loss}
    tokens = [ids[name] for name in written]
    follows = dict(itertools.pairwise(tokens))

    def forward(*, input_ids, logits_to_keep, **_):
        logits = torch.zeros(*input_ids.shape, len(router._tokens.tokenizer))
        for row, column in np.ndindex(*input_ids.shape):
            logits[row, column, follows.get(int(input_ids[row, column]), tokens[0])] = 9.0
        return SimpleNamespace(logits=logits[:, -logits_to_keep:])

    monkeypatch.setattr(router._model, "forward", forward)
    assert router.strong_win_rate("Hi!") == (pytest.approx(1.5 / (2 + np.exp(9.0))) if found else 1.0)


def test_prompts_are_read_whole_whatever_a_tokenizer_merges(router):
    """The part that is computed once ends before what the user's text may change."""
    prompts = ["\n\nleading", "  leading", "\tx", "", "\n", "trailing\n\n", "?", "Answer:"]
    fresh = CausalLLMRouter(router._folder, prompt=PLAIN, labels="win_tie_loss")
    fresh._start = []  # nothing is computed once
    np.testing.assert_allclose(router.strong_win_rates(prompts), fresh.strong_win_rates(prompts), rtol=0, atol=1e-4)
    assert len(router._start) > 3


def test_fixed_prompt_is_computed_once(published, monkeypatch):
    router = load_router(published)
    seen = []
    forward = router._model.forward
    monkeypatch.setattr(
        router._model, "forward", lambda **inputs: seen.append(inputs["input_ids"].shape) or forward(**inputs)
    )
    router.strong_win_rates(["Hi!", "Ho!", "Hu!"])
    assert [shape[0] for shape in seen] == [3]  # one pass for the batch
    assert seen[0][1] < 60  # of what differs: the fixed prompt alone has more than 600 tokens here
    before = router.strong_win_rate("Hi!")
    router.strong_win_rates(TEXTS)
    assert router.strong_win_rate("Hi!") == before


def test_middle_of_a_long_prompt_is_left_out(own):
    router = CausalLLMRouter(own, prompt=PLAIN, labels="win_tie_loss", max_length=64)
    start, end = "begin here " * 20, " and end here" * 20
    one, other = router.strong_win_rates([f"{start}{'x ' * 500}{end}", f"{start}{'other ' * 700}{end}"])
    assert one == other
    assert router.strong_win_rate(f"{'z ' * 40}{'x ' * 500}{end}") != one
    assert router.strong_win_rate(f"{start}{'x ' * 500}{' z' * 40}") != one


def test_our_format_keeps_prompt_and_labels(router, tmp_path):
    folder = router.save_pretrained(tmp_path / "ours")
    config = json.loads((folder / "config.json").read_text())
    assert config["parameters"]["labels"] == "win_tie_loss"
    assert config["parameters"]["label_tokens"] == WIN_TIE_LOSS
    assert config["parameters"]["prompt"]["suffix"] == PLAIN.suffix
    loaded = load_router(folder)
    np.testing.assert_array_equal(loaded.strong_win_rates(TEXTS), router.strong_win_rates(TEXTS))
    assert loaded.fingerprint == router.fingerprint


def test_prompt_from_a_chat_template():
    _, tokenizer = language_model()
    tokenizer.chat_template = (
        "<|begin_of_text|>{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content }}<|eot_id|>"
        "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    )
    prompt = LabelPrompt.from_chat_template(tokenizer, system="Judge {braces}.", question="Q: {question}\nA:")
    turn = "<|start_header_id|>{}<|end_header_id|>\n\n"
    assert (
        prompt.prefix == f"<|begin_of_text|>{turn.format('system')}Judge {{braces}}.<|eot_id|>{turn.format('user')}Q: "
    )
    assert prompt.suffix == f"\nA:<|eot_id|>{turn.format('assistant')}"
    assert (prompt.header, prompt.add_special_tokens) == ("", False)
    for question in ("no place", "{question} and {question}"):
        with pytest.raises(ConfigurationError, match=r"\{question\} once"):
            LabelPrompt.from_chat_template(tokenizer, system=None, question=question)
    tokenizer.chat_template = None
    with pytest.raises(ConfigurationError, match="no chat template"):
        LabelPrompt.from_chat_template(tokenizer, system=None)


def test_braces_in_a_prompt_are_text(router):
    assert 0 <= router.strong_win_rate("{question} {0} {prompt!r} %s") <= 1


# --- the published layout -------------------------------------------------------------------------------------------


def test_prompt_files_of_the_checkpoint_come_first(published, tmp_path):
    folder = write_published_causal(tmp_path, seed=2, prompt_files=False)
    shipped = load_router(folder)
    np.testing.assert_array_equal(shipped.strong_win_rates(TEXTS), load_router(published).strong_win_rates(TEXTS))
    (folder / "system_ft_v5.txt").write_text("Another instruction.\n")
    assert "Another instruction.<|eot_id|>" in load_router(folder).prompt.prefix


def test_question_file_without_a_place(tmp_path):
    folder = write_published_causal(tmp_path)
    (folder / "classifier_ft_v5.txt").write_text("nothing")
    with pytest.raises(CheckpointFormatError, match=r"classifier_ft_v5.txt has no place for the \{question\}"):
        load_router(folder)


def test_tokenizer_before_the_labels_were_added(published, tmp_path):
    """As the published router takes the one of the model it was made of."""
    tokenizer = language_model(seed=2)[1]
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    expected = load_router(published).strong_win_rates(TEXTS)
    for load in (CausalLLMRouter.from_pretrained, load_router):
        router = load(published, tokenizer=tmp_path / "tokenizer", device="cpu")
        np.testing.assert_array_equal(router.strong_win_rates(TEXTS), expected)


def test_language_model_that_is_no_router(tmp_path):
    model, tokenizer = language_model()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(CheckpointFormatError, match=r"no label token \[\[1\]\], .*adding them to its tokenizer"):
        load_router(tmp_path)


def test_without_a_tokenizer_the_remedy_is_named(tmp_path):
    folder = write_published_causal(tmp_path)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointNotFoundError, match=r"has no tokenizer.*give tokenizer="):
        load_router(folder)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"labels": "stars"}, "labels must be one of"),
        ({"label_tokens": ["[[win]]", "[[tie]]"]}, "needs 3 different label tokens"),
        ({"label_tokens": ["[[win]]", "[[tie]]", "[[tie]]"]}, "needs 3 different label tokens"),
        ({"label_tokens": ["[[win]]", "[[tie]]", "[[nope]]"]}, r"no label token \[\[nope\]\]"),
        ({"max_new_tokens": 0}, "max_new_tokens must be a whole number of 1 or more"),
        ({"max_length": 10}, "leaves no room for the user's"),
        ({"device": "abacus"}, "device='abacus' cannot be used here"),
        ({"dtype": "int4"}, "dtype must be one of"),
        ({"prompt": LabelPrompt(prefix="a", suffix="b", header="yes")}, "leaves no room for a label after"),
    ],
)
def test_wrong_arguments(own, options, match):
    with pytest.raises((ConfigurationError, CheckpointFormatError), match=match):
        CausalLLMRouter(own, **{"prompt": PLAIN, "labels": "win_tie_loss", **options})


def test_damaged_prompt_in_our_format(router, tmp_path):
    folder = router.save_pretrained(tmp_path / "ours")
    config = json.loads((folder / "config.json").read_text())
    config["parameters"]["prompt"] = {"prefix": 1}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointFormatError, match="parameter 'prompt' must hold"):
        load_router(folder)


def test_embedder_is_refused(published):
    with pytest.raises(ConfigurationError, match="takes no embedder"):
        load_router(published, embedder=HashEmbedder())


def test_by_name_from_the_hub_in_shards(published, tmp_path):
    """As it was published: shards with an index. Nothing that is not needed is fetched."""
    from transformers import AutoModelForCausalLM

    sharded = tmp_path / "sharded"
    AutoModelForCausalLM.from_pretrained(published).save_pretrained(sharded, max_shard_size="100KB")
    shards = {path.name for path in sharded.glob("*.safetensors")}
    assert len(shards) > 1
    files = {path.name: path.read_bytes() for folder in (published, sharded) for path in folder.iterdir()}
    del files["model.safetensors"]
    extra = {"consolidated.00.pth": b"\x80", "README.md": b"#", "original/params.json": b"{}", "run.py": b"1"}
    with HubServer() as hub, hub_client(hub.url, tmp_path / "home"):
        pinned = hub.commit(CAUSAL_LLM_REPO, {**files, **extra})
        router = load_router("causal_llm", revision=pinned)
        fetched = {line.rpartition("/")[2] for line in hub.transfers() if "/resolve/" in line}
        assert fetched >= {"config.json", "tokenizer.json", "model.safetensors.index.json", "system_ft_v5.txt"}
        assert not fetched & {"consolidated.00.pth", "README.md", "params.json", "run.py", "generation_config.json"}
        hub.requests.clear()
        assert load_router("causal_llm", revision=pinned).fingerprint == router.fingerprint
        assert not hub.requests
    np.testing.assert_array_equal(router.strong_win_rates(TEXTS), load_router(published).strong_win_rates(TEXTS))


def test_by_name_offline():
    with pytest.raises(RouterUnavailableError, match=re.compile("local_files_only.*'default' needs no network")):
        load_router("causal_llm", local_files_only=True)
