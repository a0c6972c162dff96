"""LangChain's standard tests of chat models, on a routed model over fakes, and over three of them.

Skipped by the suites themselves, with these reasons:

- `test_init_from_env`: a routed model reads no environment; the models it is given do.
- `test_serdes`: it is not LangChain-serializable, as `load` refuses classes of third parties.
- `test_image_inputs`, `test_pdf_inputs`, `test_audio_inputs`, `test_image_tool_message`, `test_pdf_tool_message`,
  `test_anthropic_inputs`: they download their media, and these tests run offline.
- `test_stream_time`: needs recorded cassettes of a provider.
- `test_json_mode`: the fakes parse no JSON mode; it runs over real clients in `test_standard_openai.py`.
"""

from typing import Any

import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from routellm_core.testing import ConstantRouter
from routellm_langchain import RoutedChatModel
from support.chat_models import FakeChat
from support.pools import NAMES, pool_engine

# The suites give `timeout` and `max_retries` to the routed model, which rightly says that they belong to the inner ones,
# and version 3 of the event streams is beta throughout LangChain.
SUITE_WARNINGS = [
    pytest.mark.filterwarnings("ignore:.*given to RoutedChatModel has no effect.*:UserWarning"),
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
]
pytestmark = SUITE_WARNINGS


def pair_params(win_rate: float) -> dict[str, Any]:
    return {
        "strong": FakeChat(model="strong"),
        "weak": FakeChat(model="weak"),
        "router": ConstantRouter(win_rate),
        "threshold": 0.5,
    }


class RoutedToFakes:
    supports_model_override = True
    model_override_value = "another-model"

    @property
    def chat_model_class(self) -> type[RoutedChatModel]:
        return RoutedChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return pair_params(0.9)


class TestUnit(RoutedToFakes, ChatModelUnitTests): ...


class TestIntegration(RoutedToFakes, ChatModelIntegrationTests): ...


class TestIntegrationRoutedToWeak(RoutedToFakes, ChatModelIntegrationTests):
    @property
    def chat_model_params(self) -> dict[str, Any]:
        return pair_params(0.1)


class ThreeCandidates(RoutedToFakes):
    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"candidates": {name: FakeChat(model=name) for name in NAMES}, "engine": pool_engine()}


class TestUnitThreeCandidates(ThreeCandidates, ChatModelUnitTests): ...


class TestIntegrationThreeCandidates(ThreeCandidates, ChatModelIntegrationTests): ...
