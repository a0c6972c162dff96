"""Train the shipped `default` router, and calibrate `length`, from outcomes of real models.

    python scripts/train_default.py --data FOLDER [--out core/routellm_core/assets] [--seed 0]

FOLDER holds the tables named in TABLES (columns: prompt, task, split, score::<model> in [0, 1]):

    routellm_mmlu, routellm_gsm8k     lm-sys/RouteLLM @0b64fda, routellm/evals/{mmlu,gsm8k}/responses (Apache-2.0)
    mmlupro_tiger                     TIGER-AI-Lab/MMLU-Pro @f418b11, eval_results (Apache-2.0)
    llmrouter_9models                 ulab-uiuc/LLMRouter @4e7a796, data (MIT)
    prefs_pandalm_human               WeOpenML/PandaLM @3871806 (Apache-2.0); prompts alone, to calibrate thresholds
    prefs_vicuna_gpt4                 lm-sys/vicuna-blog-eval @29e5d37 (Apache-2.0); the same

Only rows of tasks in ALLOWED_TASKS are trained on. Rows of the split "dev" are never trained on and give the reported numbers.
No GSM8K and no MT-Bench label is used. Training prompts that equal a held-out prompt after normalisation are left out.

The model is that of `routellm_core.training.default`, and the two agree at C = 1.0 but for where they stop: scikit-learn's L-BFGS
ends at its tolerance of 1e-4, before the optimum that Newton's method finds there. The penalised loss differs by less than one
part in 10,000, weights by up to 0.13 (of up to 1.9), and win rates on held-out prompts by up to 0.006 and 0.001 in the mean. The
fit stays here because it gives the shipped weights again, to 6e-8.
"""

import argparse
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold

from routellm_core import ThresholdTable
from routellm_core.embedders.bundled import BundledEmbedder
from routellm_core.evaluation import (
    CostQualityCurve,
    Interval,
    average_performance_gap_recovered,
    bootstrap_interval,
    call_performance_threshold,
)
from routellm_core.routers.base import PairRouter
from routellm_core.routers.default import DefaultRouter, default_features
from routellm_core.routers.length import LengthRouter

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """A table of outcomes and which of its models stand for strong and for weak."""

    strong: tuple[str, ...]
    weak: tuple[str, ...]
    licence: str


TABLES = {
    "routellm_mmlu": Table(
        ("gpt-4-1106-preview",), ("mixtral-8x7b-instruct-v0.1",), "Apache-2.0, source task MMLU: MIT"
    ),
    "mmlupro_tiger": Table(
        ("gemini-1.5-pro-002", "gemini-1.5-flash-002", "Meta-Llama-3.1-70B-Instruct"),
        ("Mixtral-8x7B-Instruct-v0.1", "Meta-Llama-3.1-8B-Instruct", "Mistral-7B-Instruct-v0.2"),
        "Apache-2.0, source task MMLU-Pro: Apache-2.0",
    ),
    "llmrouter_9models": Table(
        ("llama-3.3-nemotron-super-49b-v1", "llama-3.1-nemotron-51b-instruct", "llama3-chatqa-1.5-70b"),
        ("mistral-7b-instruct-v0.3", "llama-3.1-8b-instruct", "gemma-2-9b-it"),
        "MIT, source tasks: see ALLOWED_TASKS",
    ),
}

# The licence of the source task. Left out: ARC and Natural Questions (CC BY-SA), GPQA and MBPP (CC BY 4.0), logic grid
# (unstated), and GSM8K, which stays unseen so that it can show how the router does outside its training data.
ALLOWED_TASKS = {
    "mmlu": "MIT",
    "mmlu_pro": "Apache-2.0",
    "math": "MIT",
    "human_eval": "MIT",
    "commonsense_qa": "MIT",
    "commongen": "MIT",
    "openbook_qa": "Apache-2.0",
    "trivia_qa": "Apache-2.0",
}
REGULARISATION = (0.03, 0.1, 0.3, 1.0, 3.0)


def task_family(table: str, task: str) -> str:
    return "mmlu" if table == "routellm_mmlu" else task.split("/")[0]


def normalised(prompt: str) -> str:
    return re.sub(r"\W+", " ", prompt.lower()).strip()


def load_outcomes(folder: Path) -> pd.DataFrame:
    """Return prompt, split, table and the mean score of the strong and of the weak models, for allowed tasks."""
    frames = []
    for name, table in TABLES.items():
        frame = pd.read_parquet(folder / f"{name}.parquet")
        frame = frame[[task_family(name, task) in ALLOWED_TASKS for task in frame["task"]]]
        scores = pd.DataFrame(
            {
                "prompt": frame["prompt"],
                "split": frame["split"],
                "table": name,
                "strong": frame[[f"score::{model}" for model in table.strong]].mean(axis=1),
                "weak": frame[[f"score::{model}" for model in table.weak]].mean(axis=1),
            }
        )
        frames.append(scores.dropna())
    rows = pd.concat(frames, ignore_index=True)
    keys = rows["prompt"].map(normalised)
    held_out = set(keys[rows["split"] == "dev"])
    leaked = (rows["split"] == "train") & keys.isin(held_out)
    print(f"{len(rows)} rows; {int(leaked.sum())} training rows left out because a held-out prompt equals theirs")
    return rows.assign(key=keys)[~leaked].reset_index(drop=True)


def fit_head(features: Array, target: Array, strength: float) -> LogisticRegression:
    """Fit a logistic regression to scores in [0, 1]: each row counts as right and as wrong by its share."""
    x = np.concatenate([features, features])
    y = np.concatenate([np.ones(len(target)), np.zeros(len(target))])
    weight = np.concatenate([target, 1 - target])
    return LogisticRegression(C=strength, max_iter=2000).fit(x[weight > 0], y[weight > 0], weight[weight > 0])


def choose_strength(features: Array, rows: pd.DataFrame) -> float:
    """Choose the regularisation by log loss in five folds that keep equal prompts together; training rows alone."""
    losses = {}
    for strength in REGULARISATION:
        total = 0.0
        for train, test in GroupKFold(5).split(features, groups=rows["key"]):
            for side in ("strong", "weak"):
                target = rows[side].to_numpy()
                predicted = fit_head(features[train], target[train], strength).predict_proba(features[test])[:, 1]
                truth = np.concatenate([np.ones(len(test)), np.zeros(len(test))])
                weight = np.concatenate([target[test], 1 - target[test]])
                total += float(log_loss(truth, np.concatenate([predicted, predicted]), sample_weight=weight))
        losses[strength] = total / 10
        print(f"  C = {strength}: log loss {losses[strength]:.4f}")
    return min(losses, key=losses.__getitem__)


def train(rows: pd.DataFrame) -> DefaultRouter:
    embedder = BundledEmbedder()
    training = rows[rows["split"] == "train"].reset_index(drop=True)
    features = default_features(embedder, training["prompt"].tolist()).astype(np.float64)
    # The length is brought to the scale of an embedding's coordinates while fitting, so that one penalty suits both.
    scale = np.ones(features.shape[1])
    scale[-1] = features[:, -1].std() * np.sqrt(embedder.dimension)
    shift = np.zeros(features.shape[1])
    shift[-1] = features[:, -1].mean()
    scaled = (features - shift) / scale
    # The tables differ in models and in difficulty. Each gets a level of its own while fitting, so that the weights do not
    # learn to tell the tables apart; a prompt to be routed belongs to none and gets the mean level.
    levels = 3.0 * np.stack([training["table"] == name for name in TABLES], axis=1)
    columns = np.column_stack([scaled, levels])
    strength = choose_strength(columns, training)
    weights, intercepts = [], []
    for side in ("weak", "strong"):
        head = fit_head(columns, training[side].to_numpy(), strength)
        coefficients, of_levels = np.split(head.coef_[0], [scaled.shape[1]])
        weights.append(coefficients / scale)
        level = float(head.intercept_[0] + of_levels @ levels.mean(axis=0))
        intercepts.append(level - float(coefficients @ (shift / scale)))
    strongs = sorted({model for table in TABLES.values() for model in table.strong})
    weaks = sorted({model for table in TABLES.values() for model in table.weak})
    return DefaultRouter(
        np.array(weights),
        np.array(intercepts),
        embedder=embedder,
        reference_strong="typical strong model",
        reference_weak="typical weak model",
        provenance={
            "script": "scripts/train_default.py",
            "prompts": {name: int((training["table"] == name).sum()) for name in TABLES},
            "strong models": ", ".join(strongs),
            "weak models": ", ".join(weaks),
            "tasks and their licences": ", ".join(f"{task} ({licence})" for task, licence in ALLOWED_TASKS.items()),
            "sources and their licences": ", ".join(f"{name} ({table.licence})" for name, table in TABLES.items()),
            "not used": "no label of GSM8K or MT-Bench, no Chatbot Arena votes",
            "inverse regularisation C": strength,
        },
    )


def figures(router: PairRouter, prompts: list[str], weak: Array, strong: Array) -> dict[str, Interval]:
    rates = router.strong_win_rates(prompts)

    def curve(rows: NDArray[np.intp]) -> CostQualityCurve:
        return CostQualityCurve.from_win_rates(rates[rows], weak[rows], strong[rows])

    def cpt(gap: float, rows: NDArray[np.intp]) -> float:
        found = call_performance_threshold(curve(rows), gap)
        return float("nan") if found is None else found

    return {
        "APGR": bootstrap_interval(lambda rows: average_performance_gap_recovered(curve(rows)), len(rates)),
        "CPT50": bootstrap_interval(lambda rows: cpt(0.5, rows), len(rates)),
        "CPT80": bootstrap_interval(lambda rows: cpt(0.8, rows), len(rates)),
    }


def held_out_tables(folder: Path) -> dict[str, tuple[list[str], Array, Array]]:
    """Return prompts, weak and strong scores of what is reported: MMLU held out, MMLU-Pro held out, GSM8K unseen."""
    tables = {}
    for title, name, table, split in (
        ("MMLU, held-out prompts (GPT-4-1106 / Mixtral-8x7B)", "routellm_mmlu", TABLES["routellm_mmlu"], "dev"),
        (
            "MMLU-Pro, held-out prompts (means of three strong / three weak)",
            "mmlupro_tiger",
            TABLES["mmlupro_tiger"],
            "dev",
        ),
        ("GSM8K, a task not trained on (GPT-4-1106 / Mixtral-8x7B)", "routellm_gsm8k", TABLES["routellm_mmlu"], None),
    ):
        frame = pd.read_parquet(folder / f"{name}.parquet")
        if "routellm_contaminated" in frame:
            frame = frame[~frame["routellm_contaminated"]]
        if split is not None:
            frame = frame[frame["split"] == split]
        weak = frame[[f"score::{model}" for model in table.weak]].mean(axis=1)
        strong = frame[[f"score::{model}" for model in table.strong]].mean(axis=1)
        kept = weak.notna() & strong.notna()
        tables[title] = (frame["prompt"][kept].tolist(), weak[kept].to_numpy(), strong[kept].to_numpy())
    return tables


def calibration_prompts(folder: Path, rows: pd.DataFrame, seed: int) -> tuple[list[str], str]:
    """Return prompts whose win rates set the thresholds: half instructions, half held-out benchmark questions."""
    instructions = sorted(
        {
            p
            for name in ("prefs_pandalm_human", "prefs_vicuna_gpt4")
            for p in pd.read_parquet(folder / f"{name}.parquet").prompt
        }
    )
    questions = sorted(set(rows.loc[rows["split"] == "dev", "prompt"]))
    drawn = np.random.default_rng(seed).choice(len(questions), len(instructions), replace=False)
    source = f"{len(instructions)} instructions of PandaLM and the Vicuna questions, and as many held-out benchmark questions"
    return instructions + [questions[i] for i in sorted(drawn)], source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of outcome tables")
    parser.add_argument("--out", type=Path, default=Path("core/routellm_core/assets"), help="where the assets go")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    rows = load_outcomes(arguments.data)
    router = train(rows)
    metrics: dict[str, dict[str, str]] = {}
    for title, (prompts, weak, strong) in held_out_tables(arguments.data).items():
        found = figures(router, prompts, weak, strong)
        baseline = figures(LengthRouter(), prompts, weak, strong)
        metrics[f"{title}, n = {len(prompts)}, 95% bootstrap intervals"] = {
            name: f"{found[name]} (length router {baseline[name]})" for name in found
        }
        print(title, {name: str(value) for name, value in found.items()}, {n: str(v) for n, v in baseline.items()})
    calibration, source = calibration_prompts(arguments.data, rows, arguments.seed)
    router.thresholds = ThresholdTable.from_win_rates(router.strong_win_rates(calibration), source=source)
    checkpoint = router.to_checkpoint()
    with_metrics = replace(checkpoint, config=replace(checkpoint.config, metrics=metrics))
    DefaultRouter.from_checkpoint(with_metrics).save_pretrained(arguments.out / "default")
    length = LengthRouter()
    length.thresholds = ThresholdTable.from_win_rates(length.strong_win_rates(calibration), source=source)
    length.save_pretrained(arguments.out / "length")
    print(
        f"default: threshold for half the calls {router.thresholds.threshold_for(0.5):.4f}; written to {arguments.out}"
    )


if __name__ == "__main__":
    main()
