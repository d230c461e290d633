"""What may run in a container, with what, and what of a request is cut or refused (`sandbox` in `state/policy.yaml`)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, cast

from wvo_mcp.domain.rules import Difference

IMAGE = "wvo-mcp-sandbox:1"
"""What `scripts/sandbox-image` builds."""
WORK = "/work"
RESERVED = (WORK, "/tmp", "/proc", "/sys", "/dev", "/etc", "/run", "/bin", "/sbin", "/lib", "/lib64", "/usr")  # noqa: S108
"""Places in a container where nothing is mounted for a caller; /work itself holds its files."""


class Language(StrEnum):
    PYTHON = "python"
    SH = "sh"
    NODE = "node"


PROGRAMS: Mapping[Language, tuple[str, str]] = MappingProxyType(
    {Language.PYTHON: ("python3", "main.py"), Language.SH: ("sh", "main.sh"), Language.NODE: ("node", "main.js")}
)
"""What runs code, and the file that the code is given in."""


class How(StrEnum):
    """How a run ended."""

    EXIT = "exit"
    TIME = "time"
    MEMORY = "memory"
    """The kernel killed a process of it."""
    OUTPUT = "output"
    DISK = "disk"
    KILLED = "killed"
    """Something else removed it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Memory is memory and swap together, and holds what is written to /work and /tmp."""

    memory_mb: int = 512
    cpus: float = 1.0
    seconds: float = 30.0
    pids: int = 128
    output_bytes: int = 1_000_000
    work_mb: int = 64


DEFAULTS = Limits()
CEILING = Limits(memory_mb=8_192, cpus=4.0, seconds=3_600.0, pids=1_024, output_bytes=16_000_000, work_mb=8_192)
"""No policy allows more."""
FLOOR = Limits(memory_mb=16, cpus=0.05, seconds=1.0, pids=8, output_bytes=1, work_mb=1)
LIMITS = tuple(one.name for one in fields(Limits))
LISTS = ("images", "read", "write", "env", "egress")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one run may have. `read` and `write` are globs of what may be mounted, anchored to the project, or absolute, or
    below ~/; images, names of variables and hosts are exact, but for `*.` before a host."""

    images: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    """May be read as well."""
    env: tuple[str, ...] = ()
    egress: tuple[str, ...] = ()
    limits: Limits = DEFAULTS

    def beside(self, other: "Grant") -> "Grant":
        """What either allows."""
        lists = {name: tuple(dict.fromkeys((*getattr(self, name), *getattr(other, name)))) for name in LISTS}
        most = {name: max(getattr(self.limits, name), getattr(other.limits, name)) for name in LIMITS}
        return Grant(**lists, limits=Limits(**most))

    def cut(self, asked: Mapping[str, float | None]) -> tuple[Limits, list[str]]:
        """The limits of a run, and the names of those that were asked for beyond what is allowed. What is not asked for is
        as shipped, or less where that is not allowed."""
        limits, names = dict[str, float](), list[str]()
        for name in LIMITS:
            most, wanted = getattr(self.limits, name), asked.get(name)
            if wanted is not None and wanted > most:
                names.append(name)
            limits[name] = _within(name, min(most, getattr(DEFAULTS, name) if wanted is None else wanted))
        return Limits(**cast("dict[str, Any]", limits)), names


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxPolicy:
    """As it holds."""

    grant: Grant = field(default_factory=Grant)
    by_label: Mapping[str, Grant] = field(default_factory=dict[str, Grant])
    """Tasks with this label have this besides."""

    def of(self, labels: Iterable[str]) -> Grant:
        grant = self.grant
        for label in labels:
            if label in self.by_label:
                grant = grant.beside(self.by_label[label])
        return grant


Section = Mapping[str, Any]
"""Of the file, JSON-ready: {images, env, egress: [text], mounts: {read, write: [glob]}, limits: {name: number}, by_label:
{label: the same without by_label}}; what is empty or the default may be left out."""


def held_back(stated: Section, accepted: Section) -> tuple[SandboxPolicy, list[Difference]]:
    """As `policy.held_back`: what forbids more holds at once, what allows more once a person has accepted it."""
    differences: list[Difference] = []
    grant = _grant(stated, accepted, "sandbox", asdict(DEFAULTS), differences)
    labels, known = stated.get("by_label", {}), accepted.get("by_label", {})
    by_label = {
        label: _grant(one, known.get(label, {}), f"sandbox.by_label.{label}", asdict(grant.limits), differences)
        for label, one in labels.items()
    }
    return SandboxPolicy(grant=grant, by_label=by_label), differences


def _grant(
    stated: Section, accepted: Section, where: str, shipped: Mapping[str, float], differences: list[Difference]
) -> Grant:
    lists: dict[str, tuple[str, ...]] = {}
    for name in LISTS:
        now, then = _listed(stated, name), _listed(accepted, name)
        if more := [one for one in now if one not in then]:
            differences.append(Difference(f"{where}.{_field(name)}", None, more))
        lists[name] = tuple(one for one in now if one in then)
    limits: dict[str, Any] = {}
    for name in LIMITS:
        now, then = (one.get("limits", {}).get(name, shipped[name]) for one in (stated, accepted))
        limits[name] = _within(name, min(now, then))
        if now > then:
            differences.append(Difference(f"{where}.limits.{name}", then, now))
    return Grant(**lists, limits=Limits(**limits))


def _within(name: str, value: float) -> Any:
    """Between floor and ceiling: to the engine, none is no limit."""
    return type(getattr(DEFAULTS, name))(max(getattr(FLOOR, name), min(value, getattr(CEILING, name))))


def _field(name: str) -> str:
    return f"mounts.{name}" if name in ("read", "write") else name


def _listed(section: Section, name: str) -> Sequence[str]:
    return section.get("mounts", {}).get(name, ()) if name in ("read", "write") else section.get(name, ())


def covered(patterns: Iterable[str], path: str, root: str, home: str) -> bool:
    """Is the absolute path what a pattern names, or below that? Folder by folder, anchored, letters as they are: a list that
    allows takes nothing for the same that might be another."""
    parts = _parts(path)
    for pattern in patterns:
        if pattern.startswith("~/"):
            base, rest = _parts(home), pattern[2:]
        elif pattern.startswith("/"):
            base, rest = [], pattern
        else:
            base, rest = _parts(root), pattern
        if parts[: len(base)] == base and _covers(_parts(rest), parts[len(base) :]):
            return True
    return False


def _parts(path: str) -> list[str]:
    return [one for one in path.split("/") if one not in ("", ".")]


def _covers(wanted: Sequence[str], parts: Sequence[str]) -> bool:
    reached = {0}
    for one in wanted:
        if one == "**":
            reached = set(range(min(reached), len(parts) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(parts) and fnmatchcase(parts[at], one.replace("[", "[[]"))}
        if not reached:
            return False
    return True


def wrong_name(name: str) -> str | None:
    """What is wrong with the name of a file that a caller gives; None if nothing."""
    parts = name.split("/")
    if any(ord(one) < 32 or ord(one) == 127 or 0xD800 <= ord(one) <= 0xDFFF for one in name):
        return "has control characters"
    if len(name.encode()) > 1_000 or any(len(one.encode()) > 255 for one in parts):
        return "is too long"
    if any(one in ("", ".", "..") for one in parts):
        return "is not a relative path below the folder that the code runs in"
    return None


def clashing(names: Collection[str]) -> str | None:
    """A name that is a file and a folder above another one."""
    return next((up for name in names for up in _above(name) if up in names), None)


def _above(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def excerpt(text: str, most: int) -> tuple[str, bool]:
    """Its beginning and its end, and whether something between them was left out."""
    if len(text) <= most:
        return text, False
    half = most // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} characters left out ...]\n{text[-half:]}", True
