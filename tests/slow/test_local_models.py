"""The two real models of `make demo`, called by the real clients."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "examples" / "local_models.py"
SEA = [{"role": "user", "content": "Write two sentences about the sea."}]
FRANCE = "What is the capital of France?"
PARIS = "The capital of France is Paris."


local_models = sys.modules["local_models"]  # loaded by conftest.py


@pytest.fixture
def client(models):
    import openai

    with openai.OpenAI(base_url=models.base_url, api_key="none", max_retries=0, timeout=120) as client:
        yield client


def _ask(client, model, **options):
    return client.chat.completions.create(
        **{"model": model, "messages": SEA, "max_tokens": 24, "temperature": 0} | options
    )


def _accepts(base_url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", urlsplit(base_url).port)) == 0


# The conversion


def test_the_weak_model_is_the_strong_one_without_one_layer(folders):
    from safetensors import safe_open

    with (
        safe_open(folders[0] / "model.safetensors", "numpy") as strong,
        safe_open(folders[1] / "model.safetensors", "numpy") as weak,
    ):
        layers = [
            {int(name.split(".")[2]) for name in model.keys() if name.startswith("model.layers.")}  # noqa: SIM118
            for model in (strong, weak)
        ]
        assert layers == [set(range(30)), set(range(29))]
        for kept, was in ((0, 0), (17, 17), (18, 19), (28, 29)):
            weight = "self_attn.q_proj.weight"
            assert (
                weak.get_tensor(f"model.layers.{kept}.{weight}") == strong.get_tensor(f"model.layers.{was}.{weight}")
            ).all()


def test_a_second_preparation_converts_nothing(cache, folders, capfd):
    started = time.monotonic()
    assert local_models.prepare(cache) == folders
    assert time.monotonic() - started < 1
    assert capfd.readouterr().err == ""
    assert {path.name for path in cache.iterdir()} == {local_models.STRONG_NAME, local_models.WEAK_NAME}


def test_another_file_than_the_pinned_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(local_models, "GGUF_SHA256", "0" * 64)
    with pytest.raises(local_models.LocalModelError, match=r"expected 0000.*--force-reinstall"):
        local_models.prepare(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_cut_conversion_leaves_no_model(tmp_path, how):
    with subprocess.Popen(
        [sys.executable, SCRIPT, "--prepare", "--cache", tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        _wait_for(lambda: any(tmp_path.iterdir()))
        time.sleep(1)
        process.send_signal(how)
        process.communicate(timeout=10)
    visible = [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert visible == []
    if how == signal.SIGTERM:
        assert list(tmp_path.iterdir()) == []


# The server, through the client of OpenAI


def test_both_models_answer_differently_and_count_their_tokens(client, models):
    strong, weak = _ask(client, models.strong), _ask(client, models.weak)
    assert "sea" in strong.choices[0].message.content
    assert strong.choices[0].message.content != weak.choices[0].message.content
    assert (strong.usage.prompt_tokens, strong.usage.completion_tokens) == (37, 24)
    assert strong.choices[0].finish_reason == "length"
    assert weak.usage.total_tokens == weak.usage.prompt_tokens + weak.usage.completion_tokens


def test_an_answer_is_bounded_and_repeats(client, models):
    answers = [_ask(client, models.strong, max_tokens=6) for _ in range(2)]
    assert [answer.usage.completion_tokens for answer in answers] == [6, 6]
    assert answers[0].choices[0].message.content == answers[1].choices[0].message.content


def test_switching_between_the_models_loads_nothing(client, models):
    started = time.monotonic()
    for model in (models.strong, models.weak) * 3:
        _ask(client, model, max_tokens=1)
    each_s = (time.monotonic() - started) / 6
    started = time.monotonic()
    for _ in range(6):
        _ask(client, models.strong, max_tokens=1)
    assert each_s < 3 * (time.monotonic() - started) / 6 + 0.5


def test_a_stream_gives_the_same_answer_in_pieces_and_ends_with_usage(client, models):
    chunks = list(_ask(client, models.strong, stream=True))
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert len(pieces) > 10
    assert "".join(pieces) == _ask(client, models.strong).choices[0].message.content
    assert chunks[-1].usage.completion_tokens == 24


async def test_four_calls_at_once_get_their_own_answers(models):
    import openai

    async with openai.AsyncOpenAI(base_url=models.base_url, api_key="none", max_retries=0, timeout=120) as client:
        order = [models.strong, models.weak, models.strong, models.weak]
        answers = await asyncio.gather(*[_ask(client, model) for model in order])
    assert [answer.model.removesuffix("@main") for answer in answers] == order
    texts = [answer.choices[0].message.content for answer in answers]
    assert texts[0] == texts[2] != texts[1] == texts[3]


def test_an_unknown_model_is_an_error(client):
    import openai

    with pytest.raises(openai.APIStatusError):
        _ask(client, "gpt-4")


# The frameworks' own clients


async def test_langchain_openai(models):
    import httpx
    from langchain_openai import ChatOpenAI

    with httpx.Client() as http, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_BASE_URL", models.base_url)
        patch.setenv("OPENAI_API_KEY", "none")
        async with httpx.AsyncClient() as http_async:
            model = ChatOpenAI(
                model=models.strong, max_tokens=24, temperature=0, http_client=http, http_async_client=http_async
            )
            answer = model.invoke(FRANCE)
            assert (await model.ainvoke(FRANCE)).content == answer.content == PARIS
            assert answer.usage_metadata["output_tokens"] == 8
            chunks = list(model.stream(FRANCE))
            assert [chunk.content async for chunk in model.astream(FRANCE)] == [chunk.content for chunk in chunks]
    total = sum(chunks[1:], chunks[0])
    assert total.content == PARIS
    assert total.usage_metadata["output_tokens"] == 8


async def test_llamaindex_openai_like(models):
    import httpx
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai_like import OpenAILike

    messages = [ChatMessage(role="user", content=FRANCE)]
    with httpx.Client() as http:
        async with httpx.AsyncClient() as http_async:
            model = OpenAILike(
                model=models.strong,
                api_base=models.base_url,
                api_key="none",
                is_chat_model=True,
                max_tokens=24,
                temperature=0,
                http_client=http,
                async_http_client=http_async,
            )
            answer = model.chat(messages)
            assert answer.message.content == model.complete(FRANCE).text == PARIS
            assert answer.raw.usage.completion_tokens == 8
            assert (await model.achat(messages)).message.content == PARIS
            deltas = [chunk.delta async for chunk in await model.astream_chat(messages)]
            assert "".join(deltas) == PARIS
            chunks = list(model.stream_chat(messages))
    assert "".join(chunk.delta for chunk in chunks) == chunks[-1].message.content == PARIS
    assert chunks[-1].additional_kwargs["completion_tokens"] == 8


# The command


def test_the_command_gets_the_models_and_gives_its_exit_code(cache, folders, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys, openai\n"
        "answers = [openai.OpenAI().chat.completions.create(model=os.environ[name], max_tokens=2,\n"
        "    messages=[{'role': 'user', 'content': 'Hello'}]) for name in ('STRONG_MODEL', 'WEAK_MODEL')]\n"
        "print(sys.executable, sys.argv[1:], [answer.usage.completion_tokens for answer in answers])\n"
        "sys.exit(7)\n"
    )
    environment = os.environ | {"OPENAI_API_BASE": "http://127.0.0.1:1/v1", "OPENAI_API_KEY": "the user's own"}
    done = subprocess.run(
        [sys.executable, SCRIPT, "--cache", cache, "--", "python", script, "--cache", "x"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 7, done.stderr
    assert done.stdout.endswith("['--cache', 'x'] [2, 2]\n")
    assert Path(done.stdout.split(" [")[0]).parent.samefile(Path(sys.executable).parent)
    assert "transformers" not in done.stderr
    assert done.stderr.startswith("Starting")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_server_ends_with_its_launcher(cache, folders, how):
    with subprocess.Popen(
        [sys.executable, SCRIPT, "--serve", "--cache", cache], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        base_url = process.stdout.readline().removeprefix("base_url: ").strip()
        assert _accepts(base_url)
        process.send_signal(how)
        process.communicate(timeout=10)
    assert process.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 128 + how)
    _wait_for(lambda: not _accepts(base_url))


def test_a_server_that_cannot_serve_says_why(tmp_path, folders):
    with (
        pytest.raises(local_models.LocalModelError, match=r"(?s)answered 500.*last lines.*no-such-model"),
        local_models.serve(tmp_path / "no-such-model", folders[1]),
    ):
        pytest.fail("it served a folder that does not exist")


def test_a_command_that_does_not_exist_is_refused_at_once(tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT, "--cache", tmp_path, "--", "no-such-command"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert "'no-such-command' is not a command" in done.stderr
    assert list(tmp_path.iterdir()) == []


def _wait_for(condition, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
