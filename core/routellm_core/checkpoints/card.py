"""The model card that is stored with a checkpoint."""

from collections.abc import Mapping
from typing import Any

from routellm_core.checkpoints.format import CheckpointConfig


def render_card(config: CheckpointConfig) -> str:
    """Return the README.md of a checkpoint: what it is, how to load it, where it comes from, how well it does."""
    lines = ["---", "library_name: routellm-plugins", "tags:", "- llm-routing", f"- {config.router}", "---", ""]
    lines += [f"# A `{config.router}` router", ""]
    if config.reference_strong and config.reference_weak:
        pair = f"**{config.reference_strong}** answers a prompt better than **{config.reference_weak}**"
        lines += [f"Estimates how likely {pair}, before either is called.", ""]
    elif config.models:
        lines += [f"Scores {len(config.models)} models on a prompt, before any is called.", ""]
    lines += [
        "```python",
        "from routellm_core import load_router",
        "",
        'router = load_router("this repository or folder")',
    ]
    lines += ['router.score(["Prove that there are infinitely many primes."])', "```", ""]
    if config.embedder is not None:
        lines += [f"Embedder: `{config.embedder.id}`, {config.embedder.dimension} dimensions.", ""]
    if config.thresholds is not None:
        half = config.thresholds.threshold_for(0.5)
        lines += [f"Threshold for a strong fraction of 0.5: {half:.4f} ({config.thresholds.source}).", ""]
    lines += _section("How it was made", config.provenance)
    lines += _section("How well it does", config.metrics)
    if config.models:
        lines += ["## Reference models", "", ", ".join(f"`{model}`" for model in config.models), ""]
    return "\n".join(lines)


def _section(title: str, content: Mapping[str, Any]) -> list[str]:
    if not content:
        return []
    return [f"## {title}", "", *_bullets(content), ""]


def _bullets(content: Mapping[str, Any], indent: str = "") -> list[str]:
    lines = []
    for key, value in content.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}- {key}:", *_bullets(value, indent + "  ")]
        else:
            text = f"{value:.4f}" if isinstance(value, float) else value
            lines.append(f"{indent}- {key}: {text}")
    return lines
