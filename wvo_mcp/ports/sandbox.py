"""Containers in which what nobody has read may run."""

# pyright: reportReturnType=false

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from wvo_mcp.domain.policy import SafetyPolicy
from wvo_mcp.domain.sandbox import Grant, How, Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A file or folder of this machine, relative to ROOT or absolute. `at`: where in the container; None: below /project, or
    in /mnt for what is outside of the project."""

    path: str
    at: str | None = None
    write: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """`files` are below /work, where `command` begins. `grant` and `policy` judge the mounts; the rest was judged."""

    image: str
    command: Sequence[str]
    limits: Limits
    grant: Grant = field(default_factory=Grant)
    policy: SafetyPolicy = field(default_factory=SafetyPolicy)
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    mounts: Sequence[Mount] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """`exit_code` is that of the command; a signal is 128 more than its number, None when the command was ended by us. `image`
    is the id of what ran."""

    exit_code: int | None
    stdout: bytes
    stderr: bytes
    seconds: float
    how: How
    image: str


class Sandbox(Protocol):
    """Each run is a container of its own, without network, capabilities, devices and a writeable root, that is gone when the
    call has ended, in whatever way it ends."""

    async def run(self, wanted: Run) -> Ran:
        """Raises NotConfigured (no engine, no image, limits that are not enforced): then nothing ran. Forbidden: a mount.
        InvalidInput: a command that the image does not have, files that do not fit. Conflict: a mount that was replaced
        meanwhile."""

    async def reap(self) -> int:
        """Remove what processes that are gone, or whose time is over, have left; how many that was. Without an engine none.
        Any number of processes may do so at once."""
