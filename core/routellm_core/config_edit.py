"""Writing a threshold into a configuration file without touching the rest of it, comments included."""

import os
from pathlib import Path

import yaml

from routellm_core.config import RoutingConfig
from routellm_core.errors import ConfigurationError


def write_threshold(path: str | os.PathLike[str], chain: str, threshold: float) -> str:
    """Set the threshold of a chain; its `threshold` or `strong_fraction` is replaced, or a `threshold` added.

    Only the few characters of that entry change. The result is read again before it takes the file's place: it must be the
    old configuration but for this threshold.

    Args:
        path: The configuration file.
        chain: The chain.
        threshold: In [0, 1].

    Returns:
        The line as it now stands.

    Raises:
        ConfigurationError: If the file has a mistake or no such chain, or is written in a way (an alias, a merge) in which the
            change would reach other places; says what to write by hand.
    """
    path = Path(path)
    chains = RoutingConfig(path).chains
    if chain not in chains:
        raise ConfigurationError(f"{path} has no chain {chain!r}; there are: {', '.join(chains)}")
    with path.open(encoding="utf-8", newline="") as stream:  # as it is: a file with Windows line ends keeps them
        text = stream.read()
    entry = f"threshold: {threshold!r}"
    changed, at = _replace_entry(text, chain, entry)
    if yaml.safe_load(changed) != _expected(text, chain, threshold):
        raise ConfigurationError(
            f"{path}: chain {chain!r} is written in a way that cannot be changed alone (an alias or a merge); write by hand: "
            f"{entry}"
        )
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            stream.write(changed)
        temporary.chmod(path.stat().st_mode)
        RoutingConfig(temporary)
        temporary.replace(path.resolve())  # a link goes on to lead to it
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}; write by hand: {entry}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return changed[changed.rfind("\n", 0, at) + 1 :].splitlines()[0]


def _replace_entry(text: str, chain: str, entry: str) -> tuple[str, int]:
    """Return the changed text, and where in it the entry stands."""
    node = _value(_value(yaml.compose(text, Loader=yaml.SafeLoader), "chains"), chain)
    for key, value in node.value:
        if key.value in ("threshold", "strong_fraction"):
            start, end = key.start_mark.index, value.end_mark.index
            return text[:start] + entry + text[end:], start
    first = node.value[0][0].start_mark  # a chain has keys: its models
    if node.flow_style:
        return text[: first.index] + f"{entry}, " + text[first.index :], first.index
    line_end = "\r\n" if "\r\n" in text else "\n"
    return text[: first.index] + entry + line_end + " " * first.column + text[first.index :], first.index


def _value(node: yaml.Node | None, wanted: str) -> yaml.MappingNode:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == wanted and isinstance(value, yaml.MappingNode):
                return value
    raise ConfigurationError(f"the configuration has no mapping {wanted!r}")


def _expected(text: str, chain: str, threshold: float) -> object:
    data = yaml.safe_load(text)
    section = {key: value for key, value in data["chains"][chain].items() if key != "strong_fraction"}
    return {**data, "chains": {**data["chains"], chain: {**section, "threshold": threshold}}}
