"""Files that are being written, under another name until they are whole."""

import glob
import os
from pathlib import Path

from routellm_core.errors import ConfigurationError


def check_writable(path: Path, *, what: str = "") -> None:
    """Refuse a file that could not be written; worth asking before long work whose result it will be.

    Args:
        path: The file; it is not touched.
        what: What the error says before its name, such as the option that gave it.

    Raises:
        ConfigurationError: If it is a folder, or its folder is missing or may not be written.
    """
    if path.is_dir():
        why = "it is a folder"
    elif not path.parent.is_dir():
        why = f"there is no folder {str(path.parent)!r}"
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        why = "no permission"
    else:
        return
    raise ConfigurationError(f"{what} {str(path)!r} cannot be written: {why}".lstrip())


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
