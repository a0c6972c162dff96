from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from llama_index.core import Settings
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler

from routellm_llamaindex import RoutedLLM
from support.llamaindex_models import ToolLLM
from support.routers import KeywordRouter


@pytest.fixture(autouse=True)
def _fresh_settings() -> Iterator[None]:
    yield
    Settings._llm = Settings._callback_manager = Settings._prompt_helper = Settings._embed_model = None


@dataclass
class Pair:
    """A routed LLM and everything it is made of; "hard" in the scored text sends a call to strong."""

    strong: Any
    weak: Any
    router: KeywordRouter = field(default_factory=KeywordRouter)
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.llm = RoutedLLM(
            strong=self.strong, weak=self.weak, router=self.router, **{"threshold": 0.5, **self.options}
        )

    @property
    def calls(self) -> tuple[int, int]:
        """How many calls (strong, weak) have taken."""
        return len(self.strong.seen), len(self.weak.seen)


@pytest.fixture
def make_pair():
    def make(strong: Any = None, weak: Any = None, **options: Any) -> Pair:
        return Pair(strong or ToolLLM("big"), weak or ToolLLM("small"), options=options)

    return make


@pytest.fixture
def pair(make_pair) -> Pair:
    return make_pair()


@pytest.fixture
def events() -> Iterator[list[Any]]:
    """Every event that LlamaIndex dispatches during the test."""
    seen: list[Any] = []

    class Collect(BaseEventHandler):
        @classmethod
        def class_name(cls) -> str:
            return "Collect"

        def handle(self, event: Any, **kwargs: Any) -> None:
            seen.append(event)

    handler = Collect()
    root = get_dispatcher()
    root.add_event_handler(handler)
    yield seen
    root.event_handlers.remove(handler)
