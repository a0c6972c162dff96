"""Likelihoods against a straight computation, one item at a time."""

import pytest

from routellm_core.errors import ConfigurationError
from routellm_core.robustness.items import Item
from routellm_core.robustness.scoring import LikelihoodModel
from support.tiny_transformers import LLAMA_TOKENS, language_model, require_torch, tokenizer

PROMPTS = [
    "What is the capital of France?\nA. Paris\nB. Rome\nAnswer:",
    "What is the capital of Spain?\nA. word\nB. a fox and a dog\nAnswer:",
    "Hi",
    "",
    "What is " + "word " * 30,
    "Übersetze: 速い",
]
CONTINUATIONS = [
    [" A", " B"],
    [" word", " a fox and a dog", " x"],
    [" there!"],
    ["Hi!", "word"],
    [" a", " b"],
    ["茶色", "ß"],
]


@pytest.fixture(scope="module")
def tiny():
    require_torch()
    return language_model()


def straight(model, made, prompt, text):
    import torch

    before, whole = made(prompt)["input_ids"], made(prompt + text)["input_ids"]
    start = 0
    while start < len(before) and before[start] == whole[start]:
        start += 1
    with torch.inference_mode():
        logits = torch.log_softmax(model(torch.tensor([whole])).logits[0].float(), dim=-1)
    return sum(float(logits[i - 1, whole[i]]) for i in range(start, len(whole))), len(whole) - start


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_straight_computation(tiny, cached, batch_size):
    from routellm_core.robustness.likelihood import CausalScorer

    scorer = CausalScorer(*tiny, batch_size=batch_size, prefix_cache=cached)
    done = []
    found = scorer.log_likelihoods(PROMPTS, CONTINUATIONS, progress=lambda *at: done.append(at))
    for prompt, texts, likelihoods in zip(PROMPTS, CONTINUATIONS, found, strict=True):
        for text, likelihood in zip(texts, likelihoods, strict=True):
            expected, tokens = straight(*tiny, prompt, text)
            assert likelihood.log_probability == pytest.approx(expected, abs=1e-4)
            assert likelihood.tokens == tokens
    assert done[-1] == (6, 6)


def test_shared_beginnings_change_nothing(tiny):
    from routellm_core.robustness.likelihood import CausalScorer

    long = "Which? A fox.\n" * 6
    prompts = [long + end for end in ("one", "two words", "three words more", "one")]
    texts = [[" fox", " a dog"]] * 4
    scorer = CausalScorer(*tiny)
    found = scorer.log_likelihoods(prompts, texts)
    for prompt, likelihoods in zip(prompts, found, strict=True):
        for text, likelihood in zip(texts[0], likelihoods, strict=True):
            assert likelihood.log_probability == pytest.approx(straight(*tiny, prompt, text)[0], abs=1e-4)
    for first, last in zip(found[0], found[3], strict=True):
        assert first.log_probability == pytest.approx(last.log_probability, abs=1e-5)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 2}),
        ("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 2}),  # takes no positions
        ("mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),  # has no attention
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # Mamba's: that its fast kernels are not installed
def test_other_families(family, options):
    require_torch()
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from routellm_core.robustness.likelihood import CausalScorer

    made = tokenizer(LLAMA_TOKENS, begin=LLAMA_TOKENS[0])
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, vocab_size=len(made), initializer_range=0.2, pad_token_id=0, **options)
    model = AutoModelForCausalLM.from_config(config).eval()
    found = CausalScorer(model, made, batch_size=4).log_likelihoods(PROMPTS, CONTINUATIONS)
    for prompt, texts, likelihoods in zip(PROMPTS, CONTINUATIONS, found, strict=True):
        for text, likelihood in zip(texts, likelihoods, strict=True):
            assert likelihood.log_probability == pytest.approx(straight(model, made, prompt, text)[0], abs=1e-4)


SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 32,
}


@pytest.mark.parametrize(
    ("family", "options", "shares"),
    [
        ("qwen2", {**SMALL, "sliding_window": 8}, True),  # which is not in use
        ("mistral", {**SMALL, "sliding_window": 8}, False),
        ("gemma3_text", {**SMALL, "head_dim": 8, "sliding_window": 8}, False),
        ("gpt_neo", {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "window_size": 8,
                     "attention_types": [[["global", "local"], 1]]}, False),
        ("lfm2", {**SMALL, "layer_types": ["conv", "full_attention"]}, False),
    ],
)  # fmt: skip
def test_windows_and_other_memories_are_read_whole(family, options, shares):
    require_torch()
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from routellm_core.robustness.likelihood import CausalScorer

    made = tokenizer(LLAMA_TOKENS, begin=LLAMA_TOKENS[0])
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, vocab_size=len(made), initializer_range=0.4, pad_token_id=0, **options)
    model = AutoModelForCausalLM.from_config(config).eval()
    prompts = ["Which? A fox and a dog, word by word. " + end for end in ("one", "two words, and more of them", "x")]
    texts = [[" a fox and a dog", " word", " word word"]] * 3
    scorer = CausalScorer(model, made)
    found = scorer.log_likelihoods(prompts, texts)
    for prompt, likelihoods in zip(prompts, found, strict=True):
        for text, likelihood in zip(texts[0], likelihoods, strict=True):
            assert likelihood.log_probability == pytest.approx(straight(model, made, prompt, text)[0], abs=1e-4)
    assert scorer._prefix_cache is shares


def test_a_prompt_must_fit_the_positions():
    require_torch()
    from transformers import GPT2Config, GPT2LMHeadModel

    from routellm_core.robustness.likelihood import CausalScorer

    made = tokenizer(LLAMA_TOKENS)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(made), n_embd=32, n_layer=2, n_head=2, n_positions=16))
    scorer = CausalScorer(model.eval(), made, name="gpt2")
    most = " word" * 15
    assert len(scorer.log_likelihoods([most], [[" word word"]])[0]) == 1
    with pytest.raises(ConfigurationError, match=r"'gpt2' has 16 positions, .* has 18 tokens: leave the question out"):
        scorer.log_likelihoods([most], [[" word", " word word word"]])


def test_a_tokenizer_without_a_first_token_cannot_score_an_empty_prompt(tiny):
    from routellm_core.robustness.likelihood import CausalScorer

    bare = tokenizer(LLAMA_TOKENS)
    scorer = CausalScorer(tiny[0], bare)
    assert len(scorer.log_likelihoods(["Hi"], [[" there"]])[0]) == 1
    with pytest.raises(ConfigurationError, match="no token to begin with"):
        scorer.log_likelihoods([""], [["Hi"]])


def test_a_folder_and_the_rules(tiny, tmp_path):
    from routellm_core.robustness.likelihood import CausalScorer

    model, made = tiny
    model.save_pretrained(tmp_path / "tiny-model")
    made.save_pretrained(tmp_path / "tiny-model")
    asked = LikelihoodModel(CausalScorer(tmp_path / "tiny-model"))
    assert asked.name == "tiny-model"
    items = [Item(str(i), f"Which is {i}?", ("a fox", "a dog", "word"), i % 3) for i in range(5)]
    for rule in ("symbol", "hybrid", "cloze"):
        answers = asked.answer(items, rule=rule)
        assert set(answers.chosen) <= {0, 1, 2}


def test_refuses(tiny, tmp_path):
    from routellm_core.robustness.likelihood import CausalScorer

    scorer = CausalScorer(*tiny)
    with pytest.raises(ConfigurationError, match="empty text"):
        scorer.log_likelihoods(["Hi"], [[""]])
    with pytest.raises(ConfigurationError, match="no continuations"):
        scorer.log_likelihoods(["Hi"], [[]])
    with pytest.raises(ConfigurationError, match="1 prompts and 0 lists"):
        scorer.log_likelihoods(["Hi"], [])
    with pytest.raises(ConfigurationError, match="batch_size must be 1 or more, not 0"):
        CausalScorer(*tiny, batch_size=0)
    with pytest.raises(ConfigurationError, match="give tokenizer="):
        CausalScorer(tiny[0])
    with pytest.raises(ConfigurationError, match="cannot be loaded as a causal language model"):
        CausalScorer(tmp_path)
