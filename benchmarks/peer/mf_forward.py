"""Print what routellm 0.2.0 itself answers for a matrix factorisation checkpoint and given embeddings.

Runs in the environment that `setup.sh` makes, which has the peer and not this library:

    python mf_forward.py CHECKPOINT_FOLDER INPUT.npz OUTPUT.npz

The folder is in the published layout. The input holds `embeddings`, shape (n, text_dim), and `pairs`, shape (k, 2), the
rows of the strong and the weak model. The output holds `float32` and `float64`, each the strong win rates of shape (n, k):
`float32` is the peer as it is, `float64` the same code with parameters and default number type in double precision, which
separates the formula from rounding.
"""

import os
import sys
from types import SimpleNamespace

os.environ["OPENAI_API_KEY"] = "dummy"  # the peer makes a client when it is imported

import numpy as np
import torch
from routellm.routers.matrix_factorization import model as peer

MODEL = {"dim": 128, "num_models": 64, "text_dim": 1536, "num_classes": 1, "use_proj": True}
"""What the peer's own router gives `MFModel` (routellm 0.2.0, routers/routers.py, lines 218 to 222)."""


class GivenEmbeddings:
    """Stands where the peer has its OpenAI client: the prompt is the number of a row."""

    def __init__(self, rows: np.ndarray) -> None:
        self._rows = rows
        self.embeddings = self

    def create(self, *, input: list[str], model: str) -> SimpleNamespace:  # noqa: A002, ARG002
        """Answer like `OpenAI().embeddings.create`, which gives lists of Python floats."""
        return SimpleNamespace(data=[SimpleNamespace(embedding=self._rows[int(text)].tolist()) for text in input])


def win_rates(folder: str, pairs: np.ndarray, n_prompts: int, dtype: torch.dtype) -> np.ndarray:
    """Ask the peer for every pair on every prompt; shape (n, k)."""
    torch.set_default_dtype(dtype)
    model = peer.MFModel.from_pretrained(folder, **MODEL).to(dtype).eval()
    rates = [[model.pred_win_rate(a, b, str(row)) for a, b in pairs.tolist()] for row in range(n_prompts)]
    return np.array(rates, dtype=np.float64)


def main() -> None:
    """Read, ask, write."""
    if sys.argv[1:] == ["--version"]:
        from importlib.metadata import version

        print(f"routellm {version('routellm')}, torch {torch.__version__}, {len(peer.MODEL_IDS)} models")
        return
    folder, source, target = sys.argv[1:]
    torch.set_num_threads(1)
    with np.load(source) as given:
        embeddings, pairs = given["embeddings"], given["pairs"]
    peer.OPENAI_CLIENT = GivenEmbeddings(embeddings)
    answers = {
        name: win_rates(folder, pairs, len(embeddings), dtype)
        for name, dtype in (("float32", torch.float32), ("float64", torch.float64))
    }
    np.savez(target, models=np.array(list(peer.MODEL_IDS)), float32=answers["float32"], float64=answers["float64"])


if __name__ == "__main__":
    main()
