"""Prompts from arguments, files and standard input."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from routellm_core.errors import ConfigurationError, MissingColumnError
from routellm_core.preferences.tables import SUFFIXES, Table


def read_prompts(arguments: Sequence[str], file: str | None, field: str) -> list[str]:
    """Return the prompts a command was given.

    Args:
        arguments: Prompts from the command line.
        file: A .txt (a prompt a line), .jsonl, .csv or .parquet file, or "-" for a prompt a line from standard input; None
            for none.
        field: Which field or column of .jsonl, .csv and .parquet holds the prompt.

    Raises:
        ConfigurationError: If there is no prompt, or the file cannot be read as what its name says.
    """
    prompts = list(arguments)
    if file is not None:
        prompts += _read_file(file, field)
    if not prompts:
        raise ConfigurationError("there is no prompt: give some as arguments, or a file of them with --file")
    return prompts


def _read_file(file: str, field: str) -> list[str]:
    path = Path(file)
    suffixes = (".txt", *SUFFIXES)
    if file != "-" and path.suffix.lower() not in suffixes:
        raise ConfigurationError(
            f"--file {file!r}: the name must end in {', '.join(suffixes)}, or be - for standard input"
        )
    if file != "-" and not path.is_file():
        raise ConfigurationError(f"--file {file!r}: there is no such file")
    if path.suffix.lower() in SUFFIXES:
        try:
            return [prompt for batch in Table(path).batches([field]) for prompt in batch.texts(field)]
        except MissingColumnError as error:
            raise ConfigurationError(f"{error}: name it with --field") from None
    try:
        return _lines(sys.stdin) if file == "-" else _read_txt(path)
    except OSError as error:
        raise ConfigurationError(f"--file {file!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"--file {file!r} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def _lines(stream: TextIO) -> list[str]:
    return [line for line in (raw.rstrip("\r\n") for raw in stream) if line.strip()]


def _read_txt(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig") as stream:
        return _lines(stream)
