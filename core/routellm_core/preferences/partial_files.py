"""Files that are being written, under another name until they are whole."""

import glob
import os
from pathlib import Path


def partial_path(target: Path) -> Path:
    """Return where this process writes a file until it is whole, and remove what killed writes of the same file left there.

    Args:
        target: The file.
    """
    for path in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
        process = path.name.removeprefix(f".{target.name}.").removesuffix(".partial")
        if process.isdigit() and not _runs(int(process)):
            path.unlink(missing_ok=True)
    return target.with_name(f".{target.name}.{os.getpid()}.partial")


def _runs(process: int) -> bool:
    if os.name == "nt":  # there, asking would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
