"""Check an installed wheel from outside the repository: python check_wheel.py [EXTRA ...]

Run with the interpreter of an environment that holds the wheel and the named extras, and nothing else.
"""

import importlib
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path


def check_core() -> None:
    import routellm_core

    assert "site-packages" in routellm_core.__file__, routellm_core.__file__
    assert (Path(routellm_core.__file__).parent / "py.typed").exists()
    router = routellm_core.load_router("default")
    scores = router.score(["What is the capital of France?", "Prove that there are infinitely many primes."])
    assert scores.shape == (2, 2)
    assert routellm_core.RoutingEngine().decide("Hi!").reason == "policy"
    licences = {Path(str(file)).name for file in distribution("routellm-plugins").files or ()}
    assert {"LICENSE", "NOTICE", "LICENSE-all-MiniLM-L6-v2"} <= licences, licences
    routellm = Path(sys.executable).with_name("routellm")
    shown = subprocess.run([routellm, "score", "Hi!", "--format", "jsonl"], capture_output=True, text=True, check=True)
    assert '"strong_win_rate"' in shown.stdout


def check_langchain() -> None:
    from langchain_core.language_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage

    from routellm_langchain import RoutedChatModel

    fakes = [GenericFakeChatModel(messages=iter([AIMessage("an answer")])) for _ in range(2)]
    answer = RoutedChatModel(strong=fakes[0], weak=fakes[1]).invoke("Hi!")
    assert answer.response_metadata["routellm"]["choice"] in {"strong", "weak"}


def check_llamaindex() -> None:
    from llama_index.core.llms import ChatMessage
    from llama_index.core.llms.mock import MockFunctionCallingLLM

    from routellm_llamaindex import RoutedLLM

    routed = RoutedLLM(strong=MockFunctionCallingLLM(), weak=MockFunctionCallingLLM())
    answer = routed.chat([ChatMessage(role="user", content="Hi!")])
    assert answer.additional_kwargs["routellm"]["choice"] in {"strong", "weak"}


def check_openai() -> None:
    from routellm_core.embedders.openai import OpenAIEmbedder

    assert OpenAIEmbedder().dimension == 1536


def check_cache() -> None:
    import tempfile

    from routellm_core.embedders.bundled import BundledEmbedder
    from routellm_core.embedders.cache import CachedEmbedder

    with tempfile.TemporaryDirectory() as folder:
        assert CachedEmbedder(BundledEmbedder(), directory=folder).embed(["Hi!"]).shape[0] == 1


def check_prices() -> None:
    from routellm_core.pricing import look_up_price

    assert look_up_price("gpt-4o", "openai") is not None


def check_index() -> None:
    import numpy as np

    from routellm_core.routers.index import ApproximateIndex

    vectors = np.eye(8, dtype=np.float32)
    assert ApproximateIndex(vectors).search(vectors[:2], k=1)[0].tolist() == [[0], [1]]


def check_eval() -> None:
    import tempfile

    routellm = Path(sys.executable).with_name("routellm")
    rows = [f"What is {n} plus {n}?,{n % 2},1" for n in range(40)]
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "outcomes.csv")
        table.write_text("\n".join(["prompt,score::small,score::large", *rows]) + "\n", encoding="utf-8")
        pair = ["--strong", "large", "--weak", "small"]
        command = [str(routellm), "evaluate", "--router", "length", "--benchmark", str(table), *pair]
        subprocess.run([*command, "--bootstrap", "50", "--out", folder], capture_output=True, text=True, check=True)
        assert list(Path(folder).rglob("*.html"))
        assert list(Path(folder).rglob("*.svg"))


def expect_missing(import_it: Callable[[], object], extra: str) -> None:
    try:
        import_it()
    except ImportError as error:
        message = str(error)
    else:
        message = "nothing: it was imported"
    assert f'pip install "routellm-plugins[{extra}]"' in message, message


CHECKS = {
    "langchain": ("routellm_langchain", check_langchain),
    "llamaindex": ("routellm_llamaindex", check_llamaindex),
    "openai": ("routellm_core.embedders.openai", check_openai),
}

OPTIONS = {"cache": check_cache, "prices": check_prices, "index": check_index, "eval": check_eval}
"""What is used through a class or a command that is there without the extra too."""


def main() -> None:
    extras = set(sys.argv[1:])
    check_core()
    for extra, (module, check) in CHECKS.items():
        if extra in extras:
            check()
            assert (
                extra == "openai" or (Path(importlib.import_module(module).__file__ or "").parent / "py.typed").exists()
            )
        else:
            expect_missing(lambda name=module: importlib.import_module(name), extra)  # type: ignore[misc]
    for extra, check in OPTIONS.items():
        if extra in extras:
            check()
    print(f"the wheel works with the extras {sorted(extras) or 'none'}")


if __name__ == "__main__":
    main()
