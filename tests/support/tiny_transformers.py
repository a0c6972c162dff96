"""Transformers of a few thousand random weights, with tokenizers made here: no download, milliseconds to run."""

import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

LABELS = [f"[[{score}]]" for score in range(1, 6)]
LLAMA_TOKENS = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
TEXTS = [
    "What is the capital of France?",
    "Prove that the square root of two is irrational, step by step.",
    "def f(x):\n    return x and f(x - 1)\n\nDoes this terminate?",
    "Übersetze: Der schnelle braune Fuchs springt über den faulen Hund. 速い茶色の狐",
    "Hi!",
    "word " * 50,
    "",
    "[[3]] and <|eot_id|> in a prompt",
    "\n\n  leading blanks, trailing ones \n",
]
_BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def require_torch() -> None:
    """Skip where the extra `torch` is missing, or fail where CI says that it must be there."""
    if os.environ.get("ROUTELLM_REQUIRE_TORCH") == "1":
        import torch  # noqa: F401
        import transformers  # noqa: F401

        return
    pytest.importorskip("torch")
    pytest.importorskip("transformers")


def steered_model() -> ModuleType:
    """Import `benchmarks/steered_model.py`."""
    spec = importlib.util.spec_from_file_location("steered_model", _BENCHMARKS / "steered_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tokenizer(special: list[str], *, begin: str | None = None, end: str | None = None, limit: int = 10**30) -> Any:
    """Train a byte-level tokenizer of 400 tokens; `begin` and `end` are put around every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", *special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # "assistant" and an empty line are one token each, as they are for Llama 3.
    raw.train_from_iterator([*TEXTS, *["assistant", "\n\n"] * 50], trainer)
    marks = [(token, raw.token_to_id(token)) for token in (begin, end) if token]
    if marks:
        template = f"{begin or ''}:0 $A:0" + (f" {end}:0" if end else "")
        raw.post_processor = processors.TemplateProcessing(single=template, special_tokens=marks)
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token=end, model_max_length=limit)


def write_classifier(
    folder: Path, *, labels: int = 3, kind: str = "bert", seed: int = 0, limit: int = 64, pad: int | None = 0
) -> Path:
    """Write a random sequence classifier whose probabilities are spread.

    Args:
        folder: Where.
        labels: How many.
        kind: "bert", "xlm-roberta", or "gpt2", a decoder whose tokenizer adds nothing to a text.
        seed: Of the weights.
        limit: How many tokens it takes.
        pad: The padding that the model knows; "xlm-roberta" has its own.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    marks = {} if kind == "gpt2" else {"begin": "<s>", "end": "</s>"}
    made = tokenizer(["<s>", "</s>"], **marks, limit=limit)
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        kind, vocab_size=len(made), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=limit + (2 if kind == "xlm-roberta" else 0), type_vocab_size=1, num_labels=labels,
        pad_token_id=1 if kind == "xlm-roberta" else pad, initializer_range=0.4,
    )  # fmt: skip
    model = AutoModelForSequenceClassification.from_config(config).eval()
    [*(module for module in model.modules() if isinstance(module, torch.nn.Linear))][-1].weight.data *= 3
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


def language_model(*, seed: int = 0, special: list[str] | None = None, tied: bool = False) -> tuple[Any, Any]:
    """Return a random language model of the Llama family and its tokenizer, which has Llama 3's marks.

    Args:
        seed: Of the weights.
        special: More special tokens of the tokenizer.
        tied: Input and output embeddings are one layer.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    made = tokenizer([*LLAMA_TOKENS, *(special or [])], begin=LLAMA_TOKENS[0])
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(made), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=128, max_position_embeddings=2048, initializer_range=0.2, tie_word_embeddings=tied,
        bos_token_id=1, eos_token_id=4, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval(), made


def write_published_causal(folder: Path, *, seed: int = 0, follows: bool = True, prompt_files: bool = True) -> Path:
    """Write what `routellm/causal_llm_gpt4_augmented` holds, with random weights.

    Args:
        folder: Where.
        seed: Of the weights.
        follows: Whether the model writes the assistant's header and a label, as the published one does; otherwise it writes
            whatever is likeliest, with labels among it.
        prompt_files: Whether the prompt is there too.
    """
    from routellm_core.checkpoints.model_folder import PROMPT_FILES
    from routellm_core.checkpoints.published import PROMPT_ASSET

    steered = steered_model()
    model, made = language_model(seed=seed)
    steered.add_tokens(model, made, LABELS, seed=seed)
    labels = made.convert_tokens_to_ids(LABELS)
    if follows:
        header = made.encode("<|start_header_id|>assistant<|end_header_id|>\n\n", add_special_tokens=False)
        system = (PROMPT_ASSET / PROMPT_FILES[0]).read_text().strip()
        start = f"<|start_header_id|>system<|end_header_id|>\n\n{system}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
        prompts = [made.encode(f"{start}[Question]\n{text}\n\nPrediction:<|eot_id|>") for text in TEXTS]
        steered.steer(model, prompts, header, labels)
    else:
        model.get_output_embeddings().weight.data[labels] *= 1.6
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    if prompt_files:
        for name in PROMPT_FILES:
            (folder / name).write_bytes((PROMPT_ASSET / name).read_bytes())
    return folder
