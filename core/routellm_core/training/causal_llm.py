"""Fine-tune a causal language model to write a label token (RouteLLM, arXiv 2406.18665, section 4.2), in full or by LoRA."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from routellm_core.errors import ConfigurationError, MissingDependencyError
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.routers.causal_llm import DEFAULT_TOKENS, CausalLLMRouter, Labels
from routellm_core.routers.label_prompt import LabelPrompt
from routellm_core.training.fine_tuning import Example, FineTuned, FineTuningConfig, fine_tune
from routellm_core.training.pair_router import PairBattles, train_on_pair
from routellm_core.training.report import TrainingReport

Adapter = Literal["full", "lora"]

LABELS: Labels = "win_tie_loss"
PLAIN_PROMPT = LabelPrompt(prefix="", suffix="\n\nLabel:", add_special_tokens=True)
"""What is put around a prompt for a model without a chat template."""

_LOOKED_AT = 16


@dataclass(frozen=True, kw_only=True)
class CausalLLMConfig(FineTuningConfig):
    """Settings of `train_causal_llm`; batch size, steps and learning rate are the paper's, for a model of 8 billion weights.

    Attributes:
        adapter: "full" changes all weights; "lora" a low-rank addition to the attention's and the label tokens, which is merged
            into the model at the end.
        rank: Of LoRA.
        chat: Put the prompt into the tokenizer's chat template, if it has one; False, or without one, a plain "Label:" after it.
    """

    batch_size: int = 8
    learning_rate: float = 1e-6
    max_length: int = 2048
    adapter: Adapter = "full"
    rank: int = 16
    chat: bool = True

    def __post_init__(self) -> None:
        FineTuningConfig.__post_init__(self)
        if self.adapter not in get_args(Adapter):
            raise ConfigurationError(f"adapter must be one of {get_args(Adapter)}, not {self.adapter!r}")
        if type(self.rank) is not int or self.rank < 1:
            raise ConfigurationError(f"rank must be a whole number of 1 or more, not {self.rank!r}")


def train_causal_llm(
    dataset: PreferenceDataset,
    model: str | os.PathLike[str],
    config: CausalLLMConfig | None = None,
    *,
    validation: PreferenceDataset | None = None,
    state_folder: str | os.PathLike[str] | None = None,
) -> tuple[CausalLLMRouter, TrainingReport]:
    """Fine-tune a language model on the battles of a pair to write whether the strong model wins, ties or loses.

    The three labels are tokens added to its vocabulary, and what is learned is to write one of them next: the loss is over the
    whole vocabulary, so that the model comes to write nothing else. A tie counts half in the win rate. A run that was killed
    goes on from its last measurement.

    Args:
        dataset: Battles; those of the reference pair are learned, and their weights count.
        model: A folder or a Hub repository with any causal language model of transformers.
        config: The settings; None takes the defaults.
        validation: Battles to hold out, on other prompts; None draws them from `dataset`.
        state_folder: Where the state of the run and the fine-tuned model are kept. The router reads the model there until it is
            stored elsewhere. None makes a temporary folder, which stays.

    Raises:
        MissingDependencyError: If the extra `train` is not installed.
        ConfigurationError: If the pair has no battles in a part, or the state belongs to another run.
    """
    return train_on_pair(
        CausalLLMRouter,
        dataset,
        model,
        config or CausalLLMConfig(),
        _fit,
        lambda outcome: outcome,
        validation=validation,
        state_folder=state_folder,
    )


def _fit(
    transformers: Any,
    base: str | os.PathLike[str],
    parts: Sequence[PairBattles],
    config: CausalLLMConfig,
    *,
    folder: Path,
    key: Mapping[str, Any],
    begun: float,
) -> tuple[FineTuned, dict[str, Any]]:
    """Fine-tune, and leave model and tokenizer in the folder."""
    import torch

    transformers.set_seed(config.seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        base, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
    )
    prompt = (
        LabelPrompt.from_chat_template(tokenizer, system=None)
        if config.chat and getattr(tokenizer, "chat_template", None)
        else PLAIN_PROMPT
    )
    labels = DEFAULT_TOKENS[LABELS]
    added = [token for token in labels if token not in tokenizer.get_vocab()]
    tokenizer.add_tokens(added, special_tokens=True)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    label_ids = tokenizer.convert_tokens_to_ids(list(labels))
    training, validation = (_examples(part, tokenizer, prompt, label_ids, config) for part in parts)
    if added:
        _start_labels(model, [row.tokens for row in training[:_LOOKED_AT]], tokenizer.convert_tokens_to_ids(added))
    trained = _with_lora(model, label_ids, config) if config.adapter == "lora" else model
    pad = tokenizer.pad_token_id
    tuned = fine_tune(
        trained,
        (training, validation),
        _losses,
        config,
        pad_id=tokenizer.eos_token_id if pad is None else pad,
        pad_left=True,
        last_only=True,
        work=folder.parent,
        key=key,
        begun=begun,
    )
    merged = trained.merge_and_unload() if config.adapter == "lora" else trained
    merged.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tuned, {"prompt": prompt, "labels": LABELS}


def _start_labels(model: Any, rows: Sequence[Sequence[int]], added: Sequence[int]) -> None:
    """Let new labels start as copies of the token that the model itself would write after the prompts.

    So it holds all of them likely, and none likelier than another; at random they would be many nats apart.
    """
    import torch

    model.eval()
    with torch.no_grad():
        logits = sum(model(input_ids=torch.tensor([list(row)]), logits_to_keep=1).logits[0, -1] for row in rows)
        logits[list(added)] = -torch.inf
        likely = int(logits.argmax())
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            layer.weight[list(added)] = layer.weight[likely].clone()


def _with_lora(model: Any, label_ids: Sequence[int], config: CausalLLMConfig) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingDependencyError.for_extra("LoRA", "train") from error
    # What writes the labels has to learn to tell them apart: where it is a layer of its own, peft must be told its name.
    output = model.get_output_embeddings()
    tied = output.weight is model.get_input_embeddings().weight
    name = next(name for name, module in model.named_modules() if module is output)
    settings = LoraConfig(
        r=config.rank,
        lora_alpha=2 * config.rank,
        target_modules="all-linear",
        trainable_token_indices=list(label_ids) if tied else {name: list(label_ids)},
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, settings)


def _examples(
    battles: PairBattles, tokenizer: Any, prompt: LabelPrompt, label_ids: Sequence[int], config: CausalLLMConfig
) -> list[Example]:
    texts = [f"{prompt.prefix}{text}{prompt.suffix}" for text in battles.prompts]
    rows = tokenizer(texts, add_special_tokens=prompt.add_special_tokens)["input_ids"]
    labels = np.array(label_ids)[(2.0 - 2.0 * battles.outcome).astype(np.intp)]  # win, tie, loss
    weights = battles.label_weights(balanced=config.balanced)
    return [
        Example(_shortened(row, config.max_length - 1), label, weight)
        for row, label, weight in zip(rows, labels.tolist(), weights.tolist(), strict=True)
    ]


def _shortened(row: Sequence[int], longest: int) -> Sequence[int]:
    """Leave the middle of a long row out, as the router does: what stands around the prompt stays."""
    if len(row) <= longest:
        return row
    tail = longest // 2
    return [*row[: longest - tail], *row[-tail:]]


def _losses(logits: Any, target: Any) -> Any:
    from torch.nn import functional

    return functional.cross_entropy(logits, target.long(), reduction="none")
