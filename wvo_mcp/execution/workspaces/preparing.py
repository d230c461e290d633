"""What makes a new worktree usable: files that git ignores and the worker needs, and the project's setup command."""

import os
import shutil
import stat
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from anyio import to_thread

from wvo_mcp.domain.known_secrets import known_in
from wvo_mcp.domain.redaction import redact
from wvo_mcp.execution.workspaces.repository import Common
from wvo_mcp.processes import Limit, NotStarted, Program, run

INCLUDE = ".worktreeinclude"
_MOST_FILES = 20_000
_MOST_BYTES = 1 << 30
_SETUP_OUTPUT = 16 << 20
_TAIL = 2_000
_FIRST_PORT, _PORTS, _SLOTS, _PROJECTS = 10_240, 10, 16, 130
_MARKS = ("WVO_", "GIT_", "CLAUDE", "CODEX", "GEMINI", "ANTHROPIC", "OPENAI", "AI_AGENT", "TRACEPARENT", "TRACESTATE")


class NotPrepared(Exception):
    """The text says why, `tail` is the end of what the command printed."""

    def __init__(self, message: str, tail: str = "") -> None:
        super().__init__(message)
        self.tail = tail


def port_base(root: Path, slot: int) -> int:
    """The first of ten ports that belong to the slot of this project; other projects of the machine get other ones."""
    project = zlib.crc32(os.fsencode(root)) % _PROJECTS
    return _FIRST_PORT + project * _PORTS * _SLOTS + slot % _SLOTS * _PORTS


def included(common: Common, worktree: Path, spared: Collection[Path]) -> tuple[list[str], list[str]]:
    """Copy what `.worktreeinclude` of the main worktree names and git ignores, but for what is below `spared`; the paths that
    now are in the worktree, and a line for each that was refused. Raises NotPrepared for too much, GitFailed, OSError."""
    source = common.top
    if not (source / INCLUDE).is_file():
        return [], []
    listed = common.run("ls-files", "-z", "--others", "--ignored", f"--exclude-from={source / INCLUDE}", tree=source)
    if not listed:
        return [], []
    env = {"GIT_LITERAL_PATHSPECS": "0"}
    ignored = common.run("ls-files", "-z", "--others", "--ignored", "--exclude-standard", tree=source, env=env)
    both = sorted(set(listed.split(b"\0")) & set(ignored.split(b"\0")) - {b""})
    names = [os.fsdecode(name) for name in both]
    names = [name for name in names if not any((source / name).is_relative_to(folder) for folder in spared)]
    size = sum((source / name).lstat().st_size for name in names)
    if len(names) > _MOST_FILES or size > _MOST_BYTES:
        raise NotPrepared(
            f"{INCLUDE} names {len(names):,} files with {size >> 20} MiB; at most {_MOST_FILES:,} and {_MOST_BYTES >> 20} MiB"
            " are copied. Let project.setup make the rest."
        )
    copied: list[str] = []
    refused: list[str] = []
    for name in names:
        if why := _copied(source, worktree, name):
            refused.append(f"{name}: {why}")
        else:
            copied.append(name)
    return copied, refused


def _copied(source: Path, worktree: Path, name: str) -> str | None:
    """Copy one path; else why not."""
    origin, place = source / name, worktree / name
    above = worktree
    for folder in PurePosixPath(name).parts[:-1]:
        above = above / folder
        if above.is_symlink() or (above.exists() and not above.is_dir()):
            return "a folder of its path is a link or a file in the worktree"
        above.mkdir(exist_ok=True)
    if place.is_symlink() or place.exists():
        return "git has a file of that name"
    mode = origin.lstat().st_mode
    if stat.S_ISLNK(mode):
        target = Path(os.path.normpath(origin.parent / origin.readlink()))
        if origin.readlink().is_absolute() or not target.is_relative_to(source):
            return f"it is a link that leaves the project, to {origin.readlink()}"
        place.symlink_to(origin.readlink())
    elif stat.S_ISREG(mode):
        shutil.copy2(origin, place)
    else:
        return "it is no file"
    return None


def restricted(environ: Mapping[str, str], passes: Collection[str]) -> dict[str, str]:
    """For commands of the project: ours without our settings, the marks of agents and what is secret, but for the names that
    people let pass."""
    kept = {
        name: value
        for name, value in environ.items()
        if name in passes
        or (not name.startswith(_MARKS) and not known_in(value) and redact(line := f"{name}={value}") is line)
    }
    return {**kept, "CI": "1"}


async def set_up(command: str, folder: Path, env: Mapping[str, str], seconds: float, log: Path) -> None:
    """Run the project's setup command. Raises NotPrepared."""
    program = Program(
        argv=("sh", "-c", f"exec 2>&1\n{command}"),
        env=env,
        cwd=folder,
        deadline=seconds,
        output=_SETUP_OUTPUT,
        ends_with_us=True,
    )
    try:
        ended = await run(program, keep=_SETUP_OUTPUT)
    except NotStarted as error:
        raise NotPrepared(f"project.setup cannot be started: {error}.") from None
    text = redact(ended.stdout.decode(errors="replace"))
    await to_thread.run_sync(_keep, log, f"$ {redact(command)}\n{text}\n[ended with {ended.code}]\n")
    limits = {
        Limit.DEADLINE: f"took longer than {seconds:.0f} s",
        Limit.OUTPUT: f"printed more than {_SETUP_OUTPUT >> 20} MiB",
    }
    if ended.limit is not None or ended.code:
        why = f"ended with {ended.code}" if ended.limit is None else limits.get(ended.limit, "was stopped")
        raise NotPrepared(f"project.setup {why}; its log is {log}.", text[-_TAIL:])


def _keep(log: Path, text: str) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(text, "utf-8")
