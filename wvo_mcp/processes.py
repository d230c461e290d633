"""Facts about processes."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class Process:
    """`started_at` is an opaque mark: with its id it names one process for good. `environ` is what it was started with;
    empty where that may not be read."""

    pid: int
    started_at: str
    environ: dict[str, str]


def lineage(pid: int) -> Iterator[Process]:
    """The process, its parent, and so on; nothing where there is no /proc."""
    for _ in range(_DEEPEST):
        try:
            parent, started_at = _stat(pid)
        except (OSError, IndexError):
            return
        yield Process(pid, started_at, _environ(pid))
        pid = parent


def _stat(pid: int) -> tuple[int, str]:
    # The 4th and the 22nd field; the second one, a name in parentheses, may contain spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1]), fields[19]


def _environ(pid: int) -> dict[str, str]:
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.partition("=") for entry in os.fsdecode(content).split("\0"))
    return {name: value for name, _, value in pairs if name}


def parent_started_at() -> str:
    """As `Process.started_at`; `0` if unknown."""
    parent = os.getppid()
    try:
        return _stat(parent)[1]
    except (OSError, IndexError):
        pass
    try:
        shown = subprocess.run(  # noqa: S603 - fixed program and arguments
            ["ps", "-o", "lstart=", "-p", str(parent)],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=2,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return "0"
    return "".join(char for char in shown.stdout if char.isalnum()) or "0"
