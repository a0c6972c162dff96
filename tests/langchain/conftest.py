from collections.abc import Callable
from typing import Any

import pytest

from routellm_langchain import RoutedChatModel
from support.chat_models import FakeChat
from support.routers import KeywordRouter


@pytest.fixture
def router() -> KeywordRouter:
    """Scores 0.9 where the prompt says "hard", else 0.1."""
    return KeywordRouter()


@pytest.fixture
def strong() -> FakeChat:
    return FakeChat(model="strong-model")


@pytest.fixture
def weak() -> FakeChat:
    return FakeChat(model="weak-model")


@pytest.fixture
def make_routed(strong: FakeChat, weak: FakeChat, router: KeywordRouter) -> Callable[..., RoutedChatModel]:
    def make(**arguments: Any) -> RoutedChatModel:
        return RoutedChatModel(**{"strong": strong, "weak": weak, "router": router, "threshold": 0.5, **arguments})

    return make


@pytest.fixture
def routed(make_routed: Callable[..., RoutedChatModel]) -> RoutedChatModel:
    return make_routed()
