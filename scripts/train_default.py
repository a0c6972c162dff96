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

Each form of prompt has heads of its own (docs/results.md says what else was tried):

    choices         MMLU: statistics and tokens
    many choices    MMLU-Pro: statistics and tokens
    free            the open tasks and the questions of MMLU-Pro without their choices: statistics and embedding; a prompt
                    counts as solved by the strong side if one of its models solves it, as typical strong models are stronger now
    quantities      of these rows, those that are prose with numbers: for the weak side the length alone, beside a level for
                    each task; for the strong side the level alone, as typical strong models now solve nearly all of them
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from routellm_core import ThresholdTable
from routellm_core.embedders.bundled import BundledEmbedder
from routellm_core.evaluation import (
    CostQualityCurve,
    Interval,
    average_performance_gap_recovered,
    bootstrap_interval,
    call_performance_threshold,
)
from routellm_core.preferences.normalise import normalise_text
from routellm_core.routers.base import PairRouter
from routellm_core.routers.default import DefaultRouter
from routellm_core.routers.length import LengthRouter
from routellm_core.routers.prompt_ngrams import inverse_frequencies
from routellm_core.routers.prompt_reading import FORMS, read, stem
from routellm_core.training.default import DefaultFeatures, FittedHeads, HeadParts, fit_heads

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
REGULARISATION = (0.3, 1.0, 3.0)
ROWS_PER_TASK = 400
"""A task of more rows than these counts as much as one of these many, so that no task drowns the others."""

PARTS = {
    "choices": HeadParts(embedding=False),
    "many choices": HeadParts(embedding=False),
    # Not those that a pasted paragraph moves, such as the length.
    "free": HeadParts(
        statistics=("formula", "log code characters", "log numbers", "asks how or why", "asks for a text"), tokens=False
    ),
    "quantities": HeadParts(statistics=("log length of the stem",), embedding=False, tokens=False),
}


def task_family(table: str, task: str) -> str:
    return "mmlu" if table == "routellm_mmlu" else task.split("/")[0]


def load_outcomes(folder: Path) -> pd.DataFrame:
    """Return prompt, task, split, table and the scores of both sides, for allowed tasks.

    `strong` and `weak` are means over the models of a side, `best` is the highest score of a strong one.
    """
    frames = []
    for name, table in TABLES.items():
        frame = pd.read_parquet(folder / f"{name}.parquet")
        frame = frame[[task_family(name, task) in ALLOWED_TASKS for task in frame["task"]]]
        strong = frame[[f"score::{model}" for model in table.strong]]
        scores = pd.DataFrame(
            {
                "prompt": frame["prompt"],
                "task": frame["task"],
                "split": frame["split"],
                "table": name,
                "strong": strong.mean(axis=1),
                "best": strong.max(axis=1),
                "weak": frame[[f"score::{model}" for model in table.weak]].mean(axis=1),
            }
        )
        frames.append(scores.dropna())
    rows = pd.concat(frames, ignore_index=True)
    keys = rows["prompt"].map(normalise_text)
    held_out = set(keys[rows["split"] == "dev"])
    leaked = (rows["split"] == "train") & keys.isin(held_out)
    print(f"{len(rows)} rows; {int(leaked.sum())} training rows left out because a held-out prompt equals theirs")
    return rows.assign(key=keys)[~leaked].reset_index(drop=True)


def open_questions(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of open tasks, and those of MMLU-Pro without their choices; the strong score is that of the best."""
    found = rows[rows["table"] != "routellm_mmlu"].copy()
    found["prompt"] = found["prompt"].map(stem)
    return found.assign(strong=found["best"])


def training_sets(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return what the heads of each form are trained on."""
    free = open_questions(rows)
    numbers = np.array([read(prompt).form == "quantities" for prompt in free["prompt"]])
    return {
        "choices": rows[rows["table"] == "routellm_mmlu"],
        "many choices": rows[rows["table"] == "mmlupro_tiger"],
        "free": free,
        "quantities": free[numbers],
    }


def fit_form(
    form: str, rows: pd.DataFrame, frequencies: Array, *, strengths: Sequence[float] = REGULARISATION, seed: int = 0
) -> FittedHeads:
    """Fit the heads of a form to its rows."""
    features = DefaultFeatures.of(rows["prompt"].tolist(), BundledEmbedder())
    scores = rows[["weak", "strong"]].to_numpy()
    tasks = rows["task"].map(lambda task: "mmlu_pro" if task.startswith("mmlu_pro") else task)
    weight = np.minimum(1.0, ROWS_PER_TASK / tasks.map(tasks.value_counts()).to_numpy()) if form == "free" else None
    levels = None
    if form == "quantities":
        levels = np.stack([rows["task"] == task for task in sorted(set(rows["task"]))], axis=1).astype(float)
    found = fit_heads(
        features,
        frequencies,
        scores,
        rows["key"].tolist(),
        strengths=strengths,
        parts=PARTS[form],
        levels=levels,
        weight=weight,
        seed=seed,
    )
    if form != "quantities":
        return found
    # The strong head keeps its level alone: what varies is what the weak model can do.
    constant = found.heads.statistics * np.array([[1.0], [0.0]])
    return replace(found, heads=replace(found.heads, statistics=constant))


def train(rows: pd.DataFrame, seed: int = 0) -> DefaultRouter:
    """Train the router on the rows of the split "train"."""
    training = rows[rows["split"] == "train"].reset_index(drop=True)
    sets = training_sets(training)
    counts = DefaultFeatures.of(training["prompt"].tolist(), BundledEmbedder()).counts
    frequencies = inverse_frequencies(counts)
    fitted = {form: fit_form(form, part, frequencies, seed=seed) for form, part in sets.items()}
    strongs = sorted({model for table in TABLES.values() for model in table.strong})
    weaks = sorted({model for table in TABLES.values() for model in table.weak})
    return DefaultRouter(
        {form: found.heads for form, found in fitted.items()},
        {form: form for form in FORMS},
        frequencies,
        embedder=BundledEmbedder(),
        reference_strong="typical strong model",
        reference_weak="typical weak model",
        provenance={
            "script": "scripts/train_default.py",
            "prompts": {name: int((training["table"] == name).sum()) for name in TABLES},
            "prompts of each form": {form: len(part) for form, part in sets.items()},
            "strong models": ", ".join(strongs),
            "weak models": ", ".join(weaks),
            "tasks and their licences": ", ".join(f"{task} ({licence})" for task, licence in ALLOWED_TASKS.items()),
            "sources and their licences": ", ".join(f"{name} ({table.licence})" for name, table in TABLES.items()),
            "not used": "no label of GSM8K or MT-Bench, no Chatbot Arena votes; nothing of the split dev",
            "inverse regularisation C": {form: found.strength for form, found in fitted.items()},
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
    router = train(rows, arguments.seed)
    metrics: dict[str, dict[str, str]] = {}
    for title, (prompts, weak, strong) in held_out_tables(arguments.data).items():
        found = figures(router, prompts, weak, strong)
        baseline = figures(LengthRouter(), prompts, weak, strong)
        metrics[f"{title}, n = {len(prompts)}, 95% bootstrap intervals"] = {
            name: f"{found[name]} (length router {baseline[name]})" for name in found
        }
        print(title, {name: str(value) for name, value in found.items()}, {n: str(v) for n, v in baseline.items()})
    calibration, source = calibration_prompts(arguments.data, rows, arguments.seed)
    # What is not read goes to the strong model where half or more of the calls do.
    router.unread_win_rate = round(float(np.median(router.strong_win_rates(calibration))) + 1e-3, 3)
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
