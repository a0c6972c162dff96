"""Train matrix factorisation with routellm 0.2.0 itself, on given battles and embeddings.

Runs in the environment that `setup.sh` makes, which has the peer and not this library:

    python mf_training.py INPUT_FOLDER EPOCHS OUTPUT.json

The folder holds `embeddings.npy`, `training.json` and `validation.json`, each a list of `{"model_a", "model_b", "winner", "idx"}`
as the peer reads them. Model, data set, loader, loop, loss, optimiser and settings are the peer's own
(`routers/matrix_factorization/train_matrix_factorization.py`). What is changed, in this process alone, and why:

1. The device is the CPU (its script says "cuda").
2. Data and embeddings are those given, split as given (its script has placeholders for paths).
3. Its evaluator adds the noise of training to the validation loss; the one here does not, and
   takes the processor time of each epoch.

The output holds, for each epoch, the processor seconds since the loop began and the validation loss.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ["OPENAI_API_KEY"] = "dummy"  # the peer makes a client when it is imported

import torch
from routellm.routers.matrix_factorization import train_matrix_factorization as peer
from torch.nn import functional


def main() -> None:
    """Read, train, write."""
    folder, epochs, target = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    training, validation = (json.loads((folder / f"{name}.json").read_text()) for name in ("training", "validation"))
    vectors = folder / "embeddings.npy"
    n_prompts, text_dim = (int(n) for n in os.environ["EMBEDDINGS_SHAPE"].split(","))
    train_loader = peer.PairwiseDataset(training).get_dataloaders(batch_size=64, shuffle=True)
    test_loader = peer.PairwiseDataset(validation).get_dataloaders(1024, shuffle=False)
    net = peer.MFModel_Train(
        dim=128,
        num_models=len(peer.MODEL_IDS),
        num_prompts=n_prompts,
        text_dim=text_dim,
        use_proj=True,
        npy_path=str(vectors),
    )
    history: list[dict[str, float]] = []

    def evaluate(net: torch.nn.Module, loader: object, device: str) -> tuple[float, float]:  # noqa: ARG001
        total, right, n = 0.0, 0, 0
        with torch.no_grad():
            for winners, losers, prompts in loader:  # type: ignore[attr-defined]
                logits = net(winners, losers, prompts, test=True)
                total += float(functional.softplus(-logits).sum())
                right += int((logits > 0).sum())
                n += len(logits)
        history.append({"seconds": time.process_time() - begun, "loss": total / n})
        return total / n, right / n

    begun = time.process_time()
    peer.train_loops(
        net,
        train_loader,
        test_loader,
        lr=3e-4,
        weight_decay=1e-5,
        alpha=0.1,
        num_epochs=epochs,
        device="cpu",
        evaluator=evaluate,
    )
    target.write_text(json.dumps(history))


if __name__ == "__main__":
    main()
