import re

import yaml

from routellm_core import ThresholdTable, load_router
from routellm_core.checkpoints import CheckpointConfig
from routellm_core.checkpoints.card import render_card
from support.weights import published_router


def front_matter(card: str) -> dict:
    head = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    assert head
    return yaml.safe_load(head[1])


def test_front_matter_is_what_the_hub_reads(tmp_path):
    card = (load_router("default").save_pretrained(tmp_path) / "README.md").read_text()
    assert front_matter(card) == {"library_name": "routellm-plugins", "tags": ["llm-routing", "default"]}


def test_says_how_to_load_where_from_and_how_good(tmp_path):
    router = published_router(
        thresholds=ThresholdTable.uniform(source="by definition"),
        provenance={"data": "no data", "tasks": {"mmlu": 3}},
        metrics={"GSM8K": {"APGR": 0.123456}},
    )
    card = (router.save_pretrained(tmp_path) / "README.md").read_text()
    for part in (
        "# A `mf` router",
        "**gpt-4-1106-preview** answers a prompt better than **mixtral-8x7b-instruct-v0.1**",
        "load_router(",
        "Embedder: `openai:text-embedding-3-small`, 1536 dimensions.",
        "Threshold for a strong fraction of 0.5: 0.5000 (by definition).",
        "## How it was made\n\n- data: no data\n- tasks:\n  - mmlu: 3\n",
        "## How well it does\n\n- GSM8K:\n  - APGR: 0.1235\n",
        "`RWKV-4-Raven-14B`",
    ):
        assert part in card


def test_leaves_out_what_is_not_there():
    card = render_card(CheckpointConfig(router="knn", models=("a", "b", "c")))
    assert "Scores 3 models" in card
    for part in ("Embedder", "Threshold", "How it was made", "How well it does", "None"):
        assert part not in card


def test_code_of_the_card_runs(tmp_path):
    folder = load_router("default").save_pretrained(tmp_path)
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[1]
    scope: dict = {}
    exec(code.replace("this repository or folder", str(folder)), scope)
    assert scope["router"].name == "default"
