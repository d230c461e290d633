"""What is known of the processes that this one descends from."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class Process:
    """`started_at` is an opaque mark: with its id it names one process for good. `environ` is what it was started with,
    `program` the name of its file, or of the script that node runs; empty where that may not be read."""

    pid: int
    started_at: str
    environ: dict[str, str]
    program: str = ""


def lineage(pid: int) -> Iterator[Process]:
    """The process, its parent, and so on; nothing where there is no /proc."""
    for _ in range(_DEEPEST):
        try:
            parent, started_at = _stat(pid)
        except (OSError, IndexError):
            return
        pairs = (entry.partition("=") for entry in _entries(pid, "environ"))
        yield Process(pid, started_at, {name: value for name, _, value in pairs if name}, _program(pid))
        pid = parent


def _stat(pid: int) -> tuple[int, str]:
    # The 4th and the 22nd field; the second one, a name in parentheses, may contain spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1]), fields[19]


def _entries(pid: int, file: str) -> list[str]:
    try:
        return os.fsdecode(Path(f"/proc/{pid}/{file}").read_bytes()).split("\0")
    except OSError:
        return []


def _program(pid: int) -> str:
    names = [os.path.basename(entry) for entry in _entries(pid, "cmdline")]  # noqa: PTH119 - text, not a file
    if names and names[0] == "node":
        names = [name for name in names[1:] if not name.startswith("-")]
    return names[0] if names else ""


def parent_started_at() -> str:
    """As `Process.started_at`; `0` if unknown."""
    parent = os.getppid()
    try:
        return _stat(parent)[1]
    except (OSError, IndexError):
        pass
    # Only where there is no /proc: all other starts go without these.
    from concurrent.futures import ThreadPoolExecutor

    from wvo_mcp.processes import NotStarted, Program, run_blocking

    ps = Program(argv=("ps", "-o", "lstart=", "-p", str(parent)), env=os.environ, deadline=2.0)
    try:
        with ThreadPoolExecutor(1) as apart:  # there may be an event loop in this thread
            shown = apart.submit(run_blocking, ps).result()
    except NotStarted:
        return "0"
    return "".join(char for char in shown.stdout.decode(errors="replace") if char.isalnum()) or "0"
