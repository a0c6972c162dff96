"""How a language model's answer to a multiple-choice question is read: scoring rules (arXiv 2402.01781, section 3)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import ConfigurationError
from routellm_core.robustness.demonstrations import Demonstration
from routellm_core.robustness.items import MMLU_STYLE, Item, known_gold, with_style
from routellm_core.robustness.metrics import accuracy, recall_std

Rule = Literal["symbol", "hybrid", "cloze"]
"""symbol: the choices are shown and their symbols compared; hybrid: they are shown and their texts compared; cloze: they are not
shown and their texts compared."""

Normalisation = Literal["chars", "tokens", "bytes", "none"]
"""What the log-likelihood of a text is divided by; symbols are never normalised."""

Progress = Callable[[int, int], None]
"""Called with how many items are done, and of how many."""


class Likelihood(NamedTuple):
    """How likely a text is after a prompt."""

    log_probability: float
    """Of the whole text, natural logarithm."""

    tokens: int
    """How many tokens it has."""


class Scorer(Protocol):
    """What gives log-likelihoods, such as `likelihood.CausalScorer`."""

    name: str

    def log_likelihoods(
        self, prompts: Sequence[str], continuations: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[list[Likelihood]]:
        """Return how likely each continuation is after its prompt."""


class Answerer(Protocol):
    """A language model that is asked by a rule: `LikelihoodModel`, or `endpoint.EndpointModel`."""

    name: str

    def answer(
        self,
        items: Sequence[Item],
        demonstrations: Sequence[Sequence[Demonstration]] | None = None,
        *,
        rule: Rule = "symbol",
        progress: Progress | None = None,
    ) -> "Answers":
        """Answer items."""


@dataclass(frozen=True, eq=False)
class Answers:
    """A model's answers to n items.

    Attributes:
        items: As they were asked.
        chosen: The position of each answer; None where it cannot be read.
        how: How answers were read: the rule, and by what.
        instruction: What stood before every prompt.
    """

    items: tuple[Item, ...]
    chosen: tuple[int | None, ...]
    how: str
    instruction: str = ""

    @property
    def correct(self) -> NDArray[np.float64]:
        """1 where right, 0 where wrong, NaN where the answer cannot be read; shape (n,)."""
        return np.array(
            [
                np.nan if position is None else float(position == known_gold(item))
                for item, position in zip(self.items, self.chosen, strict=True)
            ]
        )

    @property
    def unparsable(self) -> int:
        """How many answers cannot be read."""
        return self.chosen.count(None)

    @property
    def accuracy(self) -> float:
        """The share of right answers; one that cannot be read is wrong."""
        return accuracy([known_gold(item) for item in self.items], self.chosen)

    @property
    def chance(self) -> float:
        """The accuracy of guessing."""
        return float(np.mean([1 / len(item.choices) for item in self.items]))

    def recall_std(self, by: Literal["position", "symbol"] = "position") -> float:
        """Return RStd over positions, or over the symbols, which differ where symbols were moved."""
        if by == "position":
            options = range(max(len(item.choices) for item in self.items))
            return recall_std([known_gold(item) for item in self.items], self.chosen, options)
        names = [
            None if position is None else item.symbols[position]
            for item, position in zip(self.items, self.chosen, strict=True)
        ]
        everything = dict.fromkeys(symbol for item in self.items for symbol in item.symbols)
        return recall_std([item.gold_symbol for item in self.items], names, list(everything))


def render(item: Item, demonstrations: Sequence[Demonstration] = (), *, rule: Rule = "symbol") -> str:
    """Write the prompt of a rule: the header, the demonstrations with their answers, an empty line behind each, and the item.

    The last line asks for the answer, "Answer:" where the item has none, and has no blank at its end: the answer begins with one.

    Args:
        item: What is asked.
        demonstrations: What stands before it.
        rule: Whether choices are shown, and what the demonstrations answer with.

    Raises:
        ConfigurationError: If there is no such rule.
    """
    if rule not in get_args(Rule):
        raise ConfigurationError(f"rule must be one of {', '.join(get_args(Rule))}, not {rule!r}")
    blocks = [_asked(shown.item, rule) + continuations(shown.item, rule=rule)[shown.answer] for shown in demonstrations]
    return item.style.header + "\n\n".join([*blocks, _asked(item, rule)])


def continuations(item: Item, *, rule: Rule = "symbol") -> list[str]:
    """Return what may follow the prompt, one a position."""
    return [f" {text}" for text in (item.symbols if rule == "symbol" else map(str.strip, item.choices))]


class LikelihoodModel:
    """A local model that is asked by likelihood, by any rule.

    Args:
        scorer: Gives the log-likelihoods, such as `likelihood.CausalScorer`.
        normalisation: What the log-likelihoods of texts are divided by: "chars" as in the published code, "tokens", "bytes"
            (of UTF-8) or "none".

    Raises:
        ConfigurationError: If there is no such normalisation.
    """

    def __init__(self, scorer: Scorer, *, normalisation: Normalisation = "chars") -> None:
        if normalisation not in get_args(Normalisation):
            allowed = ", ".join(get_args(Normalisation))
            raise ConfigurationError(f"normalisation must be one of {allowed}, not {normalisation!r}")
        self._scorer = scorer
        self._normalisation = normalisation
        self.name = scorer.name
        self.about: Mapping[str, Any] = getattr(scorer, "about", {})
        """Which model it is, for the provenance of tables."""

    def answer(
        self,
        items: Sequence[Item],
        demonstrations: Sequence[Sequence[Demonstration]] | None = None,
        *,
        rule: Rule = "symbol",
        progress: Progress | None = None,
    ) -> Answers:
        """Answer items with the choice of the highest likelihood; the first of equal ones, or the right one of equal texts.

        Args:
            items: n items.
            demonstrations: What stands before each; None for nothing.
            rule: The scoring rule.
            progress: Told how far it is.

        Raises:
            ConfigurationError: If there is no such rule, or not one list of demonstrations an item.
        """
        shown = check_demonstrations(items, demonstrations)
        prompts = [render(item, before, rule=rule) for item, before in zip(items, shown, strict=True)]
        texts = [continuations(item, rule=rule) for item in items]
        found = self._scorer.log_likelihoods(prompts, texts, progress=progress)
        chosen = [self._choose(item, likelihoods, rule) for item, likelihoods in zip(items, found, strict=True)]
        by = "" if rule == "symbol" else f" / {self._normalisation}"
        return Answers(tuple(items), tuple(chosen), f"{rule}, log-likelihood{by}")

    def _choose(self, item: Item, likelihoods: Sequence[Likelihood], rule: Rule) -> int:
        kind = "none" if rule == "symbol" else self._normalisation
        values = [
            likelihood.log_probability / length(text, likelihood, kind)
            for text, likelihood in zip(item.choices, likelihoods, strict=True)
        ]
        best = int(np.argmax(values))
        same_text = rule != "symbol" and item.gold is not None and item.choices[best] == item.choices[item.gold]
        return known_gold(item) if same_text else best


def length(text: str, likelihood: Likelihood, normalisation: Normalisation) -> int:
    """Return what the log-likelihood of a text is divided by, 1 at least."""
    lengths = {
        "chars": len(text.strip()),
        "bytes": len(text.strip().encode("utf-8", "surrogatepass")),
        "tokens": likelihood.tokens,
        "none": 1,
    }
    return max(1, lengths[normalisation])


def check_demonstrations(
    items: Sequence[Item], demonstrations: Sequence[Sequence[Demonstration]] | None
) -> Sequence[Sequence[Demonstration]]:
    """Return one list of demonstrations an item.

    Raises:
        ConfigurationError: If there are more or fewer, or no item.
    """
    if not items:
        raise ConfigurationError("there is no item to answer")
    shown = [()] * len(items) if demonstrations is None else demonstrations
    if len(shown) != len(items):
        raise ConfigurationError(f"there must be one list of demonstrations an item, not {len(shown)} of {len(items)}")
    return shown


def _asked(item: Item, rule: Rule) -> str:
    item = with_style(item, header="", cue=item.style.cue.rstrip() or MMLU_STYLE.cue)
    return item.open_prompt if rule == "cloze" else item.prompt
