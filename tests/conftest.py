"""Offline by construction: sockets reach loopback alone, and nothing in the environment can change that."""

import os
from pathlib import Path

import pytest
from pytest_socket import enable_socket, socket_allow_hosts

LOOPBACK = ["127.0.0.1", "localhost", "::1"]


def pytest_configure(config: pytest.Config) -> None:
    for name in list(os.environ):
        if name.startswith(("LANGSMITH_", "LANGCHAIN_", "OPENAI_", "AZURE_OPENAI_", "HF_")):
            del os.environ[name]
    os.environ["LANGSMITH_TRACING"] = "false"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


@pytest.fixture(autouse=True)
def _loopback_only(request: pytest.FixtureRequest):
    if request.node.get_closest_marker("live"):
        enable_socket()
    else:
        socket_allow_hosts(LOOPBACK, allow_unix_socket=True)


@pytest.fixture(scope="session")
def outcome_data() -> Path:
    """The folder with tables of real models' outcomes, given by ROUTELLM_OUTCOME_DATA; not part of the project."""
    folder = os.environ.get("ROUTELLM_OUTCOME_DATA")
    if folder and Path(folder).is_dir():
        return Path(folder)
    reason = f"ROUTELLM_OUTCOME_DATA names no folder of outcome tables: {folder!r}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
