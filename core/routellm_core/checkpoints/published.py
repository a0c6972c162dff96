"""The checkpoints that lm-sys published on the Hub, read as they are.

The layout of `routellm/mf_gpt4_augmented` and the 64 model names behind its rows are those of the package
routellm 0.2.0 (Apache-2.0), `routers/matrix_factorization/model.py`. Its other two checkpoints are plain transformers:
`routellm/bert_gpt4_augmented` classifies into three labels, `routellm/causal_llm_gpt4_augmented` writes one of five label
tokens in the chat format of Llama 3, `routers/causal_llm/configs.py`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from routellm_core.checkpoints.format import Checkpoint, CheckpointConfig, EmbedderSpec
from routellm_core.checkpoints.model_folder import PROMPT_FILES, ModelFolder
from routellm_core.errors import CheckpointFormatError

MF_REPO = "routellm/mf_gpt4_augmented"
BERT_REPO = "routellm/bert_gpt4_augmented"
CAUSAL_LLM_REPO = "routellm/causal_llm_gpt4_augmented"
REFERENCE_STRONG = "gpt-4-1106-preview"
REFERENCE_WEAK = "mixtral-8x7b-instruct-v0.1"

_MF_KEYS = {"dim", "num_models", "text_dim", "num_classes", "use_proj"}
_MF_ARRAYS = {
    "P.weight": "model_embeddings",
    "text_proj.0.weight": "text_projection",
    "classifier.0.weight": "output_weights",
}

# fmt: off
ARENA_MODELS = (
    "RWKV-4-Raven-14B", "alpaca-13b", "chatglm-6b", "chatglm2-6b", "chatglm3-6b", "claude-1", "claude-2.0", "claude-2.1",
    "claude-instant-1", "codellama-34b-instruct", "deepseek-llm-67b-chat", "dolly-v2-12b", "dolphin-2.2.1-mistral-7b",
    "falcon-180b-chat", "fastchat-t5-3b", "gemini-pro", "gemini-pro-dev-api", "gpt-3.5-turbo-0125", "gpt-3.5-turbo-0314",
    "gpt-3.5-turbo-0613", "gpt-3.5-turbo-1106", "gpt-4-0125-preview", "gpt-4-0314", "gpt-4-0613", "gpt-4-1106-preview",
    "gpt4all-13b-snoozy", "guanaco-33b", "koala-13b", "llama-13b", "llama-2-13b-chat", "llama-2-70b-chat", "llama-2-7b-chat",
    "llama2-70b-steerlm-chat", "mistral-7b-instruct", "mistral-7b-instruct-v0.2", "mistral-medium",
    "mixtral-8x7b-instruct-v0.1", "mpt-30b-chat", "mpt-7b-chat", "nous-hermes-2-mixtral-8x7b-dpo", "oasst-pythia-12b",
    "openchat-3.5", "openchat-3.5-0106", "openhermes-2.5-mistral-7b", "palm-2", "pplx-70b-online", "pplx-7b-online",
    "qwen-14b-chat", "qwen1.5-4b-chat", "qwen1.5-72b-chat", "qwen1.5-7b-chat", "solar-10.7b-instruct-v1.0",
    "stablelm-tuned-alpha-7b", "starling-lm-7b-alpha", "stripedhyena-nous-7b", "tulu-2-dpo-70b", "vicuna-13b",
    "vicuna-33b", "vicuna-7b", "wizardlm-13b", "wizardlm-70b", "yi-34b-chat", "zephyr-7b-alpha", "zephyr-7b-beta",
)
# fmt: on
"""The models of Chatbot Arena that RouteLLM knows, in the order of the rows of `P.weight`."""

# fmt: off
ARENA_TIERS = (
    ("gpt-4-0125-preview", "gpt-4-1106-preview",),
    ("gpt-4-0314", "gpt-4-0613", "mistral-medium", "claude-1", "qwen1.5-72b-chat",),
    (
        "claude-2.0", "mixtral-8x7b-instruct-v0.1", "claude-2.1", "gemini-pro-dev-api", "gpt-3.5-turbo-0314",
        "gpt-3.5-turbo-0613", "gemini-pro", "gpt-3.5-turbo-0125", "claude-instant-1", "yi-34b-chat",
        "starling-lm-7b-alpha", "wizardlm-70b", "vicuna-33b", "tulu-2-dpo-70b", "nous-hermes-2-mixtral-8x7b-dpo",
        "llama-2-70b-chat", "openchat-3.5",
    ),
    (
        "llama2-70b-steerlm-chat", "pplx-70b-online", "dolphin-2.2.1-mistral-7b", "gpt-3.5-turbo-1106",
        "deepseek-llm-67b-chat", "openhermes-2.5-mistral-7b", "openchat-3.5-0106", "wizardlm-13b",
        "mistral-7b-instruct-v0.2", "solar-10.7b-instruct-v1.0", "zephyr-7b-beta", "zephyr-7b-alpha",
        "codellama-34b-instruct", "mpt-30b-chat", "llama-2-13b-chat", "vicuna-13b", "qwen1.5-7b-chat", "pplx-7b-online",
        "falcon-180b-chat", "llama-2-7b-chat", "guanaco-33b", "qwen-14b-chat",
    ),
    ("stripedhyena-nous-7b", "mistral-7b-instruct", "vicuna-7b", "qwen1.5-4b-chat", "palm-2",),
    ("koala-13b", "chatglm3-6b", "gpt4all-13b-snoozy",),
    ("mpt-7b-chat", "RWKV-4-Raven-14B", "chatglm2-6b", "alpaca-13b", "oasst-pythia-12b",),
    ("fastchat-t5-3b", "chatglm-6b",),
    ("dolly-v2-12b", "stablelm-tuned-alpha-7b",),
    ("llama-13b",),
)
# fmt: on
"""The same models in ten tiers by their Arena ratings, the best first (Ong et al., arXiv 2406.18665, Appendix A)."""


def is_published_layout(config: Mapping[str, Any]) -> bool:
    """Say whether a `config.json` is one of those layouts."""
    return config.keys() >= _MF_KEYS and "format_version" not in config


def read_published(config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], *, origin: str) -> Checkpoint:
    """Read the layout of `routellm/mf_gpt4_augmented`.

    Raises:
        CheckpointFormatError: If the configuration or an array is not what that layout has.
    """
    for key in ("dim", "text_dim"):
        if type(config[key]) is not int or config[key] < 1:
            raise CheckpointFormatError(f"{origin}: {key} must be a whole number of 1 or more, not {config[key]!r}")
    if config["num_classes"] != 1:
        raise CheckpointFormatError(f"{origin}: num_classes is {config['num_classes']!r}; a win rate needs 1")
    n = config["num_models"]
    if n != len(ARENA_MODELS):
        raise CheckpointFormatError(
            f"{origin}: num_models is {n!r}, and this layout names its models only for {len(ARENA_MODELS)}: store it in "
            "the routellm-plugins format, which carries the names"
        )
    expected = set(_MF_ARRAYS) - (set() if config["use_proj"] else {"text_proj.0.weight"})
    missing = sorted(expected - set(arrays))
    if missing:
        raise CheckpointFormatError(f"{origin}: model.safetensors has no array {', '.join(map(repr, missing))}")
    renamed = {_MF_ARRAYS[name]: arrays[name] for name in expected}
    shapes = {"model_embeddings": (n, config["dim"]), "output_weights": (1, config["dim"])}
    if config["use_proj"]:
        shapes["text_projection"] = (config["dim"], config["text_dim"])
    for name, shape in shapes.items():
        if renamed[name].shape != shape:
            raise CheckpointFormatError(
                f"{origin}: array {name!r} has shape {renamed[name].shape}, config.json promises {shape}"
            )
    return Checkpoint(
        config=CheckpointConfig(
            router="mf",
            models=ARENA_MODELS,
            reference_strong=REFERENCE_STRONG,
            reference_weak=REFERENCE_WEAK,
            embedder=EmbedderSpec(id="openai:text-embedding-3-small", dimension=config["text_dim"]),
            parameters={
                "normalize_models": True,
                "tiers": {model: tier for tier, models in enumerate(ARENA_TIERS) for model in models},
            },
            provenance={"published_by": "lm-sys", "layout": MF_REPO},
        ),
        arrays={**renamed, "output_weights": renamed["output_weights"][0]},
        origin=origin,
    )


PROMPT_ASSET = Path(__file__).parent.parent / "assets" / "causal_llm"
"""RouteLLM's prompt, for a copy of the checkpoint that has not got it; see its NOTICE."""


def read_published_model(model: ModelFolder, *, origin: str) -> Checkpoint:
    """Read a plain transformer as lm-sys published two: a classifier with three labels, or a causal language model.

    A classifier with one label is taken for the form of the paper.

    Raises:
        CheckpointFormatError: If it is neither.
    """
    architectures = model.config.get("architectures") or ["?"]
    kind = str(architectures[0])
    if kind.endswith("ForSequenceClassification"):
        repo, router, parameters = BERT_REPO, "bert", _classifier_parameters(model, origin)
    elif kind.endswith("ForCausalLM"):
        repo, router, parameters = CAUSAL_LLM_REPO, "causal_llm", _causal_parameters(model, origin)
    else:
        raise CheckpointFormatError(
            f"{origin}: config.json is that of {kind}; a router is a ...ForSequenceClassification or a ...ForCausalLM"
        )
    published = origin == repo or origin.startswith(f"{repo}@")
    return Checkpoint(
        config=CheckpointConfig(
            router=router,
            reference_strong=REFERENCE_STRONG if published else "strong",
            reference_weak=REFERENCE_WEAK if published else "weak",
            parameters=parameters,
            provenance={"published_by": "lm-sys", "layout": repo} if published else {"layout": repo},
        ),
        model=model,
        origin=origin,
    )


def _classifier_parameters(model: ModelFolder, origin: str) -> dict[str, Any]:
    # transformers leaves the labels out of config.json when there are two.
    labels = model.config.get("id2label", {"0": "", "1": ""})
    heads = {1: "sigmoid", 3: "3way"}
    if len(labels) not in heads:
        raise CheckpointFormatError(
            f"{origin}: the classifier has {len(labels)} labels; a router has 3 (strong wins, tie, weak wins) or 1 (the logit "
            "of the strong win rate)"
        )
    return {"head": heads[len(labels)], "max_length": 512, "dtype": None}


def _causal_parameters(model: ModelFolder, origin: str) -> dict[str, Any]:
    system, question = (model.text(name) or (PROMPT_ASSET / name).read_text(encoding="utf-8") for name in PROMPT_FILES)
    before, found, after = question.partition("{question}")
    if not found:
        raise CheckpointFormatError(f"{origin}: {PROMPT_FILES[1]} has no place for the {{question}}")
    turn = "<|start_header_id|>{}<|end_header_id|>\n\n"
    return {
        "labels": "score5",
        "label_tokens": [f"[[{score}]]" for score in range(1, 6)],
        "prompt": {
            "prefix": f"{turn.format('system')}{system.strip()}<|eot_id|>{turn.format('user')}{before.lstrip()}",
            "suffix": f"{after.rstrip()}<|eot_id|>",
            "header": turn.format("assistant"),
            "add_special_tokens": True,
        },
        "max_new_tokens": 6,
        "max_length": None,
        "dtype": None,
    }
