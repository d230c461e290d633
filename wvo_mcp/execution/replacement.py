"""A file that changes as a whole: whoever reads it sees the old content or the new one, also after a crash."""

import contextlib
import os
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO


def fingerprint(path: Path) -> str | None:
    """Changes whenever the file may have changed; None while there is no file. Reads nothing."""
    try:
        now = path.stat()
    except OSError:
        return None
    return f"{now.st_ino}-{now.st_size}-{now.st_mtime_ns}"


@contextlib.contextmanager
def replacement(path: Path, mode: int = 0o644) -> Generator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends, synced; when it fails, nothing is left of it.

    Raises OSError.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    made = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            yield file
            file.flush()
            os.fsync(descriptor)
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)
