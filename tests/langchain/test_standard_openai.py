"""LangChain's standard tests of chat models, on a routed model over two real `ChatOpenAI` and a loopback server.

Skipped by the suites themselves, with these reasons:

- `test_init_from_env`: a routed model reads no environment; the models it is given do.
- `test_serdes`: it is not LangChain-serializable, as `load` refuses classes of third parties.
- `test_image_inputs`, `test_pdf_inputs`, `test_audio_inputs`, `test_image_tool_message`, `test_pdf_tool_message`,
  `test_anthropic_inputs`: they download their media, and these tests run offline.
- `test_stream_time`: needs recorded cassettes of a provider.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from routellm_core.testing import ConstantRouter
from routellm_langchain import RoutedChatModel
from support.openai_server import OpenAIServer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*given to RoutedChatModel has no effect.*:UserWarning"),
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
    # ChatOpenAI's own: for schemas of Pydantic 1, and for dumping the client's answer with a parsed object in it.
    pytest.mark.filterwarnings("ignore:.*Received a Pydantic BaseModel V1 schema.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:(?s)Pydantic serializer warnings.*parsed.*:UserWarning"),
]


class RoutedToOpenAI:
    win_rate: ClassVar[float] = 0.9
    server_url: ClassVar[str]

    supports_json_mode = True
    supports_model_override = True
    model_override_value = "another-model"

    @property
    def chat_model_class(self) -> type[RoutedChatModel]:
        return RoutedChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        def client(model: str) -> ChatOpenAI:
            # With another base address than OpenAI's it asks for no usage in streams, unless told to.
            return ChatOpenAI(model=model, base_url=self.server_url, api_key="test", max_retries=0, stream_usage=True)

        return {
            "strong": client("strong-model"),
            "weak": client("weak-model"),
            "router": ConstantRouter(self.win_rate),
            "threshold": 0.5,
        }


@pytest.fixture(autouse=True, scope="module")
def _serve() -> Iterator[None]:
    with OpenAIServer() as server:
        RoutedToOpenAI.server_url = server.url
        yield


class TestUnit(RoutedToOpenAI, ChatModelUnitTests): ...


class TestIntegration(RoutedToOpenAI, ChatModelIntegrationTests): ...


class TestIntegrationRoutedToWeak(RoutedToOpenAI, ChatModelIntegrationTests):
    win_rate = 0.1
