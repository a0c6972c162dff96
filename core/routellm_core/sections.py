"""Sections: the chains of a configuration, each ready to decide, and what a reload keeps of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from routellm_core.errors import RouteLLMError
from routellm_core.plan import Plan
from routellm_core.pricing import Price
from routellm_core.scoring import ScoringService
from routellm_core.task_state import TaskState
from routellm_core.traffic import DecisionLog


@dataclass(frozen=True, kw_only=True)
class Section:
    """One chain of the configuration, ready to decide: its plan, who scores for it, and what its calls were like so far."""

    plan: Plan
    scoring: ScoringService
    chain: str = "default"
    task: TaskState = field(default_factory=TaskState)


class SectionSource(Protocol):
    """What an engine can be reloaded from; `routellm_core.config.RoutingConfig` is one."""

    def build_sections(self) -> Mapping[str, Section]:
        """Return every chain by its name."""
        ...

    def build_log(self) -> DecisionLog | None:
        """Return the decision log; None if there is none."""
        ...


def require_chain(chain: str, sections: Mapping[str, Section], error: type[RouteLLMError]) -> None:
    """Raise the given error if there is no such chain."""
    if chain not in sections:
        raise error(f"chain={chain!r} is not in the configuration; there are: {', '.join(sections)}")


def all_prices(sections: Mapping[str, Section]) -> dict[str, Price]:
    """Return the prices of the models of all chains."""
    return {name: price for section in sections.values() for name, price in section.plan.prices.items()}


def with_states_of(old: Section | None, new: Section) -> Section:
    """Return a section of a new configuration that goes on with what the old one's calls were like, where that still fits."""
    if old is None:
        return new
    same = (old.plan.candidates, old.plan.router.fingerprint) == (new.plan.candidates, new.plan.router.fingerprint)
    if same and old.plan.references == new.plan.references and old.plan.uses_distance == new.plan.uses_distance:
        new = replace(new, task=old.task)
    if old.plan.sessions is None or new.plan.sessions is None:
        return new
    return replace(new, plan=replace(new.plan, sessions=old.plan.sessions))
