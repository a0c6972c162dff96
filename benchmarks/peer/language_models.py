"""Print what routellm 0.2.0's own BERT, causal and matrix factorisation routers answer, and how long they take.

Runs in the environment that `setup.sh` makes, which has the peer and not this library:

    python language_models.py bert|causal_llm|mf CHECKPOINT_FOLDER PROMPTS.json OUTPUT.npz [--dtype float32] [--repeat 3]

The folder is in the published layout; for mf, the prompts are given by their embeddings, lists of numbers. The output holds
`win_rates`, shape (n,), and, with --repeat, `seconds`, shape (repeat, n), and `peak_mb`, the peak resident memory.
Nothing of the peer is changed on disk. What is changed in this process, and why:

1. OPENAI_API_KEY is set to a dummy, because the peer makes an OpenAI client when it is imported.
2. Device: `"cuda"`, which the causal router asks for by name, is read as `"cpu"`.
3. Tokenizer: the causal router takes the one of the gated meta-llama/Meta-Llama-3-8B; here it is the checkpoint's own.
4. Prompt files: the package has none, it fetches them from the checkpoint's repository; here they are read from the folder.
5. Embedding: the client that asks OpenAI is replaced by one that has the embeddings, as in `mf_forward.py`.
6. With --dtype float32 the causal router's weights are not rounded to bfloat16. Without it, it runs as it is.

Tokenization, prompt, generation, softmax and win rate are the peer's.
"""

import argparse
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["OPENAI_API_KEY"] = "dummy"

import numpy as np
import torch
import transformers
from routellm.routers import routers as peer
from routellm.routers.causal_llm import llm_utils
from routellm.routers.causal_llm import model as peer_model
from routellm.routers.matrix_factorization import model as mf_model


def without_cuda(original: Any) -> Any:
    """Return a `.to` that takes "cuda" for "cpu"."""

    def to(self: Any, *args: Any, **options: Any) -> Any:
        return original(self, *("cpu" if arg == "cuda" else arg for arg in args), **options)

    return to


def causal_router(folder: str, dtype: str | None) -> Any:
    """Make the peer's causal router from a folder, with the patches above."""
    patched: Any
    for patched in (torch.Tensor, transformers.PreTrainedModel):
        patched.to = without_cuda(patched.to)
    get_tokenizer = peer_model.get_tokenizer
    peer_model.get_tokenizer = lambda _, **options: get_tokenizer(folder, **options)
    peer.hf_hub_download = lambda repo_id, filename: str(Path(repo_id) / filename)
    if dtype is not None:
        llm_utils.torch = SimpleNamespace(bfloat16=getattr(torch, dtype))
    return peer.CausalLLMRouter(folder)


class GivenEmbeddings:
    """Stands where the peer has its OpenAI client: the prompt is the number of a row."""

    def __init__(self, rows: list[list[float]]) -> None:
        self._answers = [SimpleNamespace(data=[SimpleNamespace(embedding=row)]) for row in rows]
        self.embeddings = self

    def create(self, *, input: list[str], model: str) -> SimpleNamespace:  # noqa: A002, ARG002
        """Answer like `OpenAI().embeddings.create`."""
        return self._answers[int(input[0])]


def mf_router(folder: str, embeddings: list[list[float]]) -> Any:
    """Make the peer's matrix factorisation router from a folder, with the patch above."""
    mf_model.OPENAI_CLIENT = GivenEmbeddings(embeddings)
    return peer.MatrixFactorizationRouter(folder)


def main() -> None:
    """Read, ask, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("router", choices=["bert", "causal_llm", "mf"])
    parser.add_argument("folder")
    parser.add_argument("prompts")
    parser.add_argument("output")
    parser.add_argument("--dtype", choices=["float32"])
    parser.add_argument("--repeat", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    prompts = json.loads(Path(given.prompts).read_text(encoding="utf-8"))
    router: Any
    if given.router == "bert":
        router = peer.BERTRouter(given.folder)
    elif given.router == "causal_llm":
        router = causal_router(given.folder, given.dtype)
    else:
        router, prompts = mf_router(given.folder, prompts), [str(row) for row in range(len(prompts))]
    # The first pass warms up.
    win_rates = np.array([router.calculate_strong_win_rate(prompt) for prompt in prompts], dtype=np.float64)
    seconds = []
    for _ in range(given.repeat):
        row = []
        for prompt in prompts:
            start = time.perf_counter()
            router.calculate_strong_win_rate(prompt)
            row.append(time.perf_counter() - start)
        seconds.append(row)
    # Not getrusage: that one begins with the peak of the process this one was forked from.
    status = Path("/proc/self/status").read_text()
    peak_mb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
    versions = f"routellm 0.2.0, torch {torch.__version__}, transformers {transformers.__version__}"
    np.savez(given.output, win_rates=win_rates, seconds=np.array(seconds), peak_mb=peak_mb, versions=versions)


if __name__ == "__main__":
    main()
