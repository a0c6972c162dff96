"""The one place that reads tables: .csv, .jsonl and .parquet files, here or in a data set on the Hugging Face Hub.

Rows come in batches, so a file may be larger than memory, and every value knows the line or row that it came from.
"""

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import ConfigurationError, MissingColumnError, MissingDependencyError
from routellm_core.preferences.normalise import first_user_turn, turns_in_text
from routellm_core.preferences.partial_files import check_writable, partial_path

SUFFIXES = (".jsonl", ".csv", ".parquet")
BATCH_ROWS = 8192


@dataclass(frozen=True)
class Batch:
    """Some consecutive rows of a table, column by column.

    Attributes:
        origin: What error messages call the table.
        unit: What `numbers` count: "line" (.csv, .jsonl) or "row" (.parquet), from 1.
        numbers: Where each row is in the file.
        columns: Name to values; None where a row has none.
        only_text: Whether the file can hold nothing but text (.csv), and so lists as JSON.
    """

    origin: str
    unit: str
    numbers: Sequence[int]
    columns: Mapping[str, Sequence[Any]]
    only_text: bool = False

    def __len__(self) -> int:
        return len(self.numbers)

    def where(self, index: int) -> str:
        """Name a row of this batch for an error message."""
        return f"{self.origin}, {self.unit} {self.numbers[index]}"

    def require(self, column: str) -> Sequence[Any]:
        """Return a column that must be there.

        Raises:
            MissingColumnError: If it is not; lists those that are.
        """
        if column not in self.columns:
            raise MissingColumnError(f"{self.origin} has no column {column!r}; it has {_listed(self.columns)}")
        return self.columns[column]

    def prompts(self, column: str) -> list[str]:
        """Return the prompts in a column that must be there; of conversations their first user turn.

        Raises:
            ConfigurationError: If a row has none.
        """
        values = self.require(column)
        if self.only_text:
            values = [turns_in_text(value) for value in values]
        return [first_user_turn(value, self.where(i)) for i, value in enumerate(values)]

    def texts(self, column: str) -> list[str]:
        """Return a column that must hold text in every row.

        Raises:
            ConfigurationError: If a value is missing or no text.
        """
        values = self.columns[column]
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise ConfigurationError(f"{self.where(index)}: {column!r} must be text, not {type(value).__name__}")
        return list(values)

    def floats(self, column: str) -> NDArray[np.float64]:
        """Return a column of numbers, NaN where a row has none (None, NaN, or empty in .csv).

        Raises:
            ConfigurationError: If a value is no number, or infinite.
        """
        return np.array([as_float(v, self.where, i, column) for i, v in enumerate(self.columns[column])], np.float64)

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Go through the rows; each with its index in this batch."""
        names = list(self.columns)
        for index, values in enumerate(zip(*self.columns.values(), strict=True)):
            yield index, dict(zip(names, values, strict=True))


def as_float(value: Any, where: Any, index: int, column: str) -> float:
    """Read one number of a table; NaN for None, NaN and an empty text.

    Args:
        value: What the table holds.
        where: Turns the index into the row's name, for the error.
        index: Of the row in its batch.
        column: For the error.

    Raises:
        ConfigurationError: If it is no number, or infinite.
    """
    if value is None or value == "":
        return float("nan")
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("inf")
    if number in (float("inf"), float("-inf")):
        raise ConfigurationError(
            f"{where(index)}: {column!r} must be a finite number or empty, not {str(value)[:40]!r}"
        )
    return number


class Table:
    """A table in a file or in a data set on the Hub; reading it starts with `batches`.

    Args:
        source: A .csv, .jsonl or .parquet file (the last needs the extra `eval`); `hf://datasets/owner/name/file.csv`, or
            `hf://datasets/owner/name@revision/file.csv`; or `owner/name` for a Hub data set that has exactly one such file.
        token: For a data set on the Hub; None takes the stored one, False none.

    Raises:
        ConfigurationError: If there is no such file, or it is of another kind.
        CheckpointError: If the Hub does not deliver.
    """

    def __init__(self, source: str | os.PathLike[str], *, token: str | bool | None = None) -> None:
        self.origin = os.fspath(source)
        self.path = _locate(source, token)
        self.kind = self.path.suffix.lower()
        if self.kind not in SUFFIXES:
            raise ConfigurationError(f"{self.origin!r}: the name of a table must end in {', '.join(SUFFIXES)}")

    def __repr__(self) -> str:
        return f"Table({self.origin!r})"

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns; of .jsonl, the fields of the first line."""
        with self._errors():
            if self.kind == ".parquet":
                return tuple(_parquet().read_schema(self.path).names)
            if self.kind == ".csv":
                with self._text() as stream:
                    return tuple(csv.DictReader(stream).fieldnames or ())
            return tuple(next(self._jsonl_rows(), (0, {}))[1])

    def batches(
        self, required: Iterable[str] | None = None, optional: Iterable[str] = (), *, size: int = BATCH_ROWS
    ) -> Iterator[Batch]:
        """Read the table from its start, a batch at a time.

        Args:
            required: Columns to read, which every row must have; None reads all there are.
            optional: Further columns; they are None where the table or a line does not have them.
            size: Rows a batch.

        Raises:
            MissingColumnError: If a required column is not there.
            ConfigurationError: If the file is not what its name says.
        """
        needed = None if required is None else tuple(dict.fromkeys(required))
        extra = tuple(name for name in dict.fromkeys(optional) if needed is None or name not in needed)
        with self._errors():
            if self.kind == ".parquet":
                yield from self._parquet_batches(needed, extra, size)
                return
            rows = self._csv_rows(needed) if self.kind == ".csv" else self._jsonl_rows(needed)
            while chunk := list(islice(rows, size)):
                found = [name for _, row in chunk for name in row] if needed is None else needed
                names = dict.fromkeys((*found, *extra))
                values = {name: [row.get(name) for _, row in chunk] for name in names}
                yield Batch(self.origin, "line", [number for number, _ in chunk], values, self.kind == ".csv")

    def _text(self) -> Any:
        return self.path.open(encoding="utf-8-sig", newline="" if self.kind == ".csv" else None)

    def _csv_rows(self, needed: tuple[str, ...] | None) -> Iterator[tuple[int, Mapping[str, Any]]]:
        csv.field_size_limit(2**31 - 1)  # prompts may be longer than the 128 kB that is the default
        with self._text() as stream:
            reader = csv.DictReader(stream, restkey="")
            self._require(needed or (), reader.fieldnames or ())
            for row in reader:
                if "" in row and "" not in (reader.fieldnames or ()):
                    raise ConfigurationError(
                        f"{self.origin}, line {reader.line_num} has more fields than the header: quote what holds commas"
                    )
                yield reader.line_num, row

    def _jsonl_rows(self, needed: tuple[str, ...] | None = None) -> Iterator[tuple[int, Mapping[str, Any]]]:
        with self._text() as stream:
            for number, line in enumerate(stream, start=1):
                if not line.strip():
                    continue
                where = f"{self.origin}, line {number}"
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise ConfigurationError(f"{where} is not JSON: {error}") from None
                if not isinstance(row, dict):
                    if needed:
                        raise MissingColumnError(f"{where} has no field {needed[0]!r}: it is no JSON object")
                    raise ConfigurationError(f"{where} is no JSON object")
                for name in needed or ():
                    if name not in row:
                        raise MissingColumnError(f"{where} has no field {name!r}; it has {_listed(row)}")
                yield number, row

    def _parquet_batches(self, needed: tuple[str, ...] | None, extra: tuple[str, ...], size: int) -> Iterator[Batch]:
        with _parquet().ParquetFile(self.path) as file:
            there = list(file.schema_arrow.names)
            self._require(needed or (), there)
            names = there if needed is None else [name for name in (*needed, *extra) if name in there]
            start = 1
            for chunk in file.iter_batches(batch_size=size, columns=names):
                values: dict[str, Sequence[Any]] = {name: chunk.column(name).to_pylist() for name in names}
                n = chunk.num_rows
                values |= {name: [None] * n for name in extra if name not in values}
                yield Batch(self.origin, "row", range(start, start + n), values)
                start += n

    def _require(self, needed: Iterable[str], there: Sequence[str]) -> None:
        for name in needed:
            if name not in there:
                has = f"it has {_listed(there)}" if there else "it is empty"
                raise MissingColumnError(f"{self.origin} has no column {name!r}; {has}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError as error:
            raise ConfigurationError(
                f"{self.origin!r} is not UTF-8 text: {error.reason} at byte {error.start}"
            ) from error
        except csv.Error as error:
            raise ConfigurationError(f"{self.origin!r} is no CSV: {error}") from error
        except OSError as error:
            raise ConfigurationError(f"{self.origin!r} cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            if type(error).__module__.partition(".")[0] != "pyarrow":
                raise
            raise ConfigurationError(f"{self.origin} is no parquet file: {error}") from error


def _parquet() -> Any:
    try:
        import pyarrow.parquet as parquet  # only this kind of file needs it
    except ImportError as error:
        raise MissingDependencyError.for_extra("Reading and writing .parquet", "eval") from error
    return parquet


def _locate(source: str | os.PathLike[str], token: str | bool | None) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    text = os.fspath(source)
    from routellm_core.preferences.hub import fetch_dataset_file, is_hub_source  # files do not need the Hub's client

    if text.startswith("hf://") or (is_hub_source(text) and path.suffix.lower() not in SUFFIXES):
        return fetch_dataset_file(text, suffixes=SUFFIXES, token=token)
    raise ConfigurationError(f"{text!r}: there is no such file")


def check_table_name(path: str | os.PathLike[str]) -> Path:
    """Return the path of a table that is to be written; worth asking before long work whose result it will be.

    Raises:
        ConfigurationError: If the name has another ending than tables have, or it cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise ConfigurationError(f"{str(path)!r}: the name of a table must end in {', '.join(SUFFIXES)}")
    check_writable(target)
    return target


def write_table(rows: Iterable[Mapping[str, Any]], path: str | os.PathLike[str], *, columns: Sequence[str]) -> Path:
    """Write rows to a .csv, .jsonl or .parquet file, whole or not at all, holding few of them in memory.

    Args:
        rows: One mapping a row.
        path: The file; an existing one is replaced.
        columns: The columns of .csv and .parquet, in order; a row without one has an empty cell there.

    Raises:
        ConfigurationError: If the name has another ending, or the file cannot be written.
    """
    target = check_table_name(path)
    writers = {".jsonl": _write_jsonl, ".csv": _write_csv, ".parquet": _write_parquet}
    partial = partial_path(target)
    try:
        writers[target.suffix.lower()](rows, partial, columns)
        partial.replace(target)
    except OSError as error:
        raise ConfigurationError(f"{str(path)!r} cannot be written: {error.strerror or error}") from error
    except (ValueError, TypeError) as error:
        if type(error).__module__.partition(".")[0] != "pyarrow":
            raise
        raise ConfigurationError(
            f"{str(path)!r}: a column holds values of several kinds, which .parquet cannot have: {error}; write .jsonl"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def _write_jsonl(rows: Iterable[Mapping[str, Any]], path: Path, columns: Sequence[str]) -> None:  # noqa: ARG001  (a line has its own fields)
    with path.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row, default=str) + "\n")  # dates of .parquet, as text


def _write_csv(rows: Iterable[Mapping[str, Any]], path: Path, columns: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8", errors="replace", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({name: json.dumps(v) if isinstance(v, list | dict) else v for name, v in row.items()})


def _write_parquet(rows: Iterable[Mapping[str, Any]], path: Path, columns: Sequence[str]) -> None:
    parquet = _parquet()
    import pyarrow

    remaining = iter(rows)
    first = list(islice(remaining, BATCH_ROWS))
    chunk = first
    writer = None
    try:
        while chunk or writer is None:
            values = {name: [_encodable(row.get(name)) for row in chunk] for name in columns}
            if writer is None:
                found = pyarrow.table(values).schema
                schema = pyarrow.schema((f.name, _type_of(pyarrow, f)) for f in found)
                writer = parquet.ParquetWriter(path, schema)
            for name in columns:
                if pyarrow.types.is_integer(schema.field(name).type) and any(type(v) is float for v in values[name]):
                    raise pyarrow.ArrowInvalid(f"{name!r} holds whole numbers, and then others")  # it would cut them
            writer.write_table(pyarrow.table(values, schema=schema))
            chunk = list(islice(remaining, BATCH_ROWS))
    finally:
        if writer is not None:
            writer.close()


def _type_of(pyarrow: Any, field: Any) -> Any:
    """Return the type of a column of which only the first rows are known: they may hold nothing, or only whole numbers."""
    number = "::" in field.name or field.name == "weight"
    if pyarrow.types.is_null(field.type):
        return pyarrow.float64() if number else pyarrow.string()
    return pyarrow.float64() if number and pyarrow.types.is_integer(field.type) else field.type


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


def _encodable(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
