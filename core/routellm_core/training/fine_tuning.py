"""Fine-tuning a transformer on battles of a pair: what bert and causal_llm have in common around `transformers.Trainer`."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from routellm_core.errors import ConfigurationError
from routellm_core.progress import Advance, progress_bar
from routellm_core.training.report import LossPoint
from routellm_core.training.resume import TrainingState


@dataclass(frozen=True, kw_only=True)
class FineTuningConfig:
    """Settings that bert and causal_llm share.

    Attributes:
        steps: How many updates at most.
        batch_size: How many battles an update sees.
        learning_rate: Of AdamW, after a linear rise over `warmup` and before a linear fall to 0.
        weight_decay: Of AdamW.
        warmup: The share of the steps over which the learning rate rises, in [0, 1).
        evaluate_every: After how many steps the validation loss is measured, and the state kept.
        patience: Stop after so many measurements without a lower validation loss; None never stops early. The weights are
            always those of the lowest.
        balanced: Let every label count the same in total. Win rates are then no probabilities any more; calibrate thresholds.
        max_length: How many tokens of a prompt are read.
        validation_fraction: The share of the distinct prompts that is held out, in (0, 1).
        reference_strong: The strong model; None: see `reference_pair`.
        reference_weak: The weak one.
        device: Where to train, as torch calls it; None takes what `transformers.Trainer` finds.
        seed: Of the split, the start and the order.

    Raises:
        ConfigurationError: If a setting is out of range.
    """

    steps: int = 2000
    batch_size: int = 16
    learning_rate: float = 1e-5
    weight_decay: float = 0.01
    warmup: float = 0.06
    evaluate_every: int = 100
    patience: int | None = 5
    balanced: bool = False
    max_length: int = 512
    validation_fraction: float = 0.1
    reference_strong: str | None = None
    reference_weak: str | None = None
    device: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        whole = ("steps", "batch_size", "evaluate_every", "patience", "max_length")
        for name in whole:
            number = getattr(self, name)
            if number is not None and (type(number) is not int or number < 1):
                raise ConfigurationError(f"{name} must be a whole number of 1 or more, not {number!r}")
        if type(self.seed) is not int or self.seed < 0:
            raise ConfigurationError(f"seed must be a whole number of 0 or more, not {self.seed!r}")
        if not 0 < self.learning_rate < np.inf:
            raise ConfigurationError(f"learning_rate must be above 0, such as 1e-5, not {self.learning_rate!r}")
        if not 0 <= self.weight_decay < np.inf or not 0 <= self.warmup < 1:
            raise ConfigurationError(
                f"weight_decay must be 0 or more and warmup in [0, 1), not {self.weight_decay!r} and {self.warmup!r}"
            )


@dataclass(frozen=True, eq=False)
class Example:
    """What a transformer reads of a battle, and what it should say.

    Attributes:
        tokens: Token ids.
        target: A number: a probability, or the index of a label.
        weight: What the battle counts.
    """

    tokens: Sequence[int]
    target: float
    weight: float


@dataclass
class FineTuned:
    """How a fine-tuning went.

    Attributes:
        history: The losses at every measurement.
        best_step: The step of the weights that were kept.
        earlier: How many seconds the parts before this one took, up to what was kept of them; 0 if it is no resumed run.
    """

    history: list[LossPoint]
    best_step: int
    earlier: float


def fine_tune(
    model: Any,
    examples: tuple[Sequence[Example], Sequence[Example]],
    losses: Callable[[Any, Any], Any],
    config: FineTuningConfig,
    *,
    pad_id: int,
    pad_left: bool,
    last_only: bool,
    work: Path,
    key: Mapping[str, Any],
    begun: float,
) -> FineTuned:
    """Fine-tune a model in place, up to the step with the lowest validation loss.

    Args:
        model: A model of transformers.
        examples: Those to learn from and those to measure on.
        losses: From logits and targets of a batch to the loss of each, shape (n,).
        config: The settings.
        pad_id: The token that fills shorter rows.
        pad_left: Whether it comes before the text.
        last_only: Whether only the logits after the last token are wanted.
        work: The folder for the state of the run; it goes on from what it finds there.
        key: What the run depends on.
        begun: When the run, or this part of it, began, by `time.perf_counter`.

    Raises:
        ConfigurationError: If the state there belongs to another run.
    """
    import torch
    from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    run = TrainingState(work, key)
    stored = run.load()
    earlier = float(stored[1].get("seconds", 0.0)) if stored is not None else 0.0
    if stored is None:
        run.save({}, {"seconds": 0.0})
    history: list[LossPoint] = []

    def collate(rows: Sequence[Example]) -> dict[str, Any]:
        longest = max(len(row.tokens) for row in rows)
        ids = torch.full((len(rows), longest), pad_id)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for i, row in enumerate(rows):
            place = slice(longest - len(row.tokens), longest) if pad_left else slice(0, len(row.tokens))
            ids[i, place] = torch.tensor(row.tokens)
            mask[i, place] = 1
        numbers = {name: torch.tensor([getattr(row, name) for row in rows]) for name in ("target", "weight")}
        return {"input_ids": ids, "attention_mask": mask, **numbers}

    class BattleTrainer(Trainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            arguments = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
            if last_only:
                positions = (arguments["attention_mask"].cumsum(dim=1) - 1).clamp(min=0)
                arguments |= {"position_ids": positions, "logits_to_keep": 1, "use_cache": False}
            outputs = model(**arguments)
            logits = outputs.logits[:, -1] if last_only else outputs.logits
            each = losses(logits.float(), inputs["target"])
            loss = (each * inputs["weight"].to(each.dtype)).mean()
            return (loss, {"logits": logits}) if return_outputs else loss

    class Reporter(TrainerCallback):  # type: ignore[misc]
        def __init__(self, advance: Advance) -> None:
            self._advance = advance

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            self._advance(state.global_step)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            run.save({}, {"seconds": earlier + time.perf_counter() - begun})

    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=config.steps,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=int(config.warmup * config.steps),
        lr_scheduler_type="linear",
        eval_strategy="steps",
        eval_steps=config.evaluate_every,
        save_strategy="steps",
        save_steps=config.evaluate_every,
        save_total_limit=2,
        logging_strategy="steps",
        logging_steps=config.evaluate_every,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        label_names=["target"],
        prediction_loss_only=True,
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
        use_cpu=config.device == "cpu",
        seed=config.seed,
        dataloader_pin_memory=False,
    )
    training, validation = (_Rows(part) for part in examples)
    trainer = BattleTrainer(
        model=model, args=arguments, data_collator=collate, train_dataset=training, eval_dataset=validation
    )
    trainer.remove_callback(PrinterCallback)  # it prints to standard output
    if config.patience is not None:
        trainer.add_callback(EarlyStoppingCallback(config.patience))
    checkpoints = sorted(work.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    whole = [path for path in checkpoints if (path / "trainer_state.json").is_file()]
    with progress_bar("Training", config.steps) as advance:
        trainer.add_callback(Reporter(advance))
        trainer.train(resume_from_checkpoint=str(whole[-1]) if whole else None)
    trained = {entry["step"]: entry["loss"] for entry in trainer.state.log_history if "loss" in entry}
    for entry in trainer.state.log_history:
        if "eval_loss" in entry:
            step = int(entry["step"])
            history.append(
                LossPoint(step=step, epoch=entry["epoch"], training=trained.get(step), validation=entry["eval_loss"])
            )
    best = min(history, key=lambda point: point.validation)
    return FineTuned(history, best.step, earlier)


class _Rows:
    """What torch's loader reads: a length and rows by number."""

    def __init__(self, rows: Sequence[Example]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        return self._rows[index]
