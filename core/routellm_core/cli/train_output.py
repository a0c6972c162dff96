"""What `routellm train` writes to --out, and what is said where that cannot be done."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from routellm_core.errors import ConfigurationError, RouteLLMError
from routellm_core.evaluation.log_loss import BLIND_RATE
from routellm_core.preferences.outcomes import OutcomeTable, write_outcomes
from routellm_core.training.report import TrainingReport
from routellm_core.training.resume import STATE_FILE

HELD_OUT_FILE = "held_out.jsonl"
WORK_FOLDER = ".training"
"""The state of an unfinished run, within --out."""


def check_out(out: Path) -> None:
    """Refuse a file where a folder is to be.

    Raises:
        ConfigurationError: If there is one.
    """
    if out.exists() and not out.is_dir():
        raise ConfigurationError(f"--out {str(out)!r} is a file: name a folder, which is made if it does not exist")


@contextmanager
def made_folder(out: Path) -> Iterator[None]:
    """Make --out, and while the block runs turn what the disk refuses into an error that says what to do.

    Raises:
        ConfigurationError: If the folder cannot be made, or something in it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        yield
    except RouteLLMError:
        raise
    except OSError as error:
        if error.errno is None:  # of a library, and not of the disk
            raise
        what = str(out) if error.filename is None else str(error.filename)
        raise ConfigurationError(
            f"--out {str(out)!r}: {what!r} cannot be written: {error.strerror}; name a folder that can be made and written, on a "
            "disk with space"
        ) from error


def holds_unfinished_run(out: Path) -> bool:
    """Tell whether there is something to --resume."""
    return (out / WORK_FOLDER / STATE_FILE).is_file()


def write_held_out(pair: OutcomeTable | None, report: TrainingReport, out: Path) -> None:
    """Write what the report's figures of the pair are of; without a pair, what an earlier router left there goes.

    Args:
        pair: The outcomes on the prompts held out, (strong, weak); None if there are none.
        report: What was measured on them.
        out: The folder.
    """
    if pair is None:
        for file in out.glob(f"{HELD_OUT_FILE}*"):
            file.unlink()
        return
    strong, weak = pair.models
    rate = report.metrics["reference pair"][BLIND_RATE]
    write_outcomes(replace(pair, provenance={BLIND_RATE: {strong: rate, weak: 1.0 - rate}}), out / HELD_OUT_FILE)
