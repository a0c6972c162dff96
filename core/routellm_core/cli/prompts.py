"""Prompts from arguments, files and standard input."""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from routellm_core.errors import ConfigurationError, MissingDependencyError


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
    readers = {".txt": _read_txt, ".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if file != "-" and reader is None:
        raise ConfigurationError(
            f"--file {file!r}: the name must end in {', '.join(readers)}, or be - for standard input"
        )
    if file != "-" and not path.is_file():
        raise ConfigurationError(f"--file {file!r}: there is no such file")
    try:
        return _lines(sys.stdin) if reader is None else list(reader(path, field))
    except OSError as error:
        raise ConfigurationError(f"--file {file!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"--file {file!r} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def _lines(stream: TextIO) -> list[str]:
    return [line for line in (raw.rstrip("\r\n") for raw in stream) if line.strip()]


def _read_txt(path: Path, field: str) -> list[str]:  # noqa: ARG001  (a line is the prompt)
    with path.open(encoding="utf-8-sig") as stream:
        return _lines(stream)


def _read_jsonl(path: Path, field: str) -> Iterator[str]:
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ConfigurationError(f"{where} is not JSON: {error}") from None
            if not isinstance(row, dict) or field not in row:
                there = f"; it has {', '.join(map(repr, row))}" if isinstance(row, dict) else ""
                raise ConfigurationError(f"{where} has no field {field!r}{there}: name it with --field")
            yield _text(row[field], where, field)


def _read_csv(path: Path, field: str) -> Iterator[str]:
    csv.field_size_limit(2**31 - 1)  # prompts may be longer than the 128 kB that is the default
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        _require_column(path, field, reader.fieldnames or [])
        for row in reader:
            yield _text(row[field], f"{path}, line {reader.line_num}", field)


def _read_parquet(path: Path, field: str) -> Iterator[str]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet  # only this kind of file needs it
    except ImportError as error:
        raise MissingDependencyError.for_extra("Reading .parquet", "eval") from error
    try:
        _require_column(path, field, parquet.read_schema(path).names)
        values = parquet.read_table(path, columns=[field]).column(0).to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise ConfigurationError(f"{path} is no parquet file: {error}") from error
    for number, value in enumerate(values, start=1):
        yield _text(value, f"{path}, row {number}", field)


def _require_column(path: Path, field: str, columns: Sequence[str]) -> None:
    if field not in columns:
        there = f"it has {', '.join(map(repr, columns))}: use --field" if columns else "it is empty"
        raise ConfigurationError(f"{path} has no column {field!r}; {there}")


def _text(value: object, where: str, field: str) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{where}: {field!r} must be text, not {type(value).__name__}")
    return value
