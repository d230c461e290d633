"""The machine, the folders of a project, and what people write there: roadmap, directives, providers."""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import anyio

from wvo_mcp.domain.finding import Finding, fail, ok, warn
from wvo_mcp.domain.providers.trust import held_back, parts_of, waits
from wvo_mcp.errors import InvalidInput, NotFound, WvoError
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.providers.parse import defaults, read
from wvo_mcp.execution.providers.presence import check_all
from wvo_mcp.execution.roadmap.source import read_roadmap
from wvo_mcp.execution.trust import PROVIDERS, Trust

LITTLE_BYTES = 1_000_000_000
TOO_LITTLE_BYTES = 100_000_000
NETWORK = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "smb2", "9p", "afs", "afpfs", "ceph", "glusterfs", "lustre", "webdav", "davfs")
)  # fmt: skip
"""File systems on which the memory that WAL shares between processes does not work across machines."""


def python() -> Finding:
    return ok("python", f"Python {platform.python_version()} at {sys.executable}")


def workspace(root: Path, reason: str) -> Finding:
    found = f"{root} (chosen by: {reason})"
    if root.is_dir():
        return ok("workspace", found)
    return fail("workspace", f"{found} is not a folder", "Set ROOT to the folder of the project, or leave it unset.")


def state_folder(state_dir: Path) -> Finding:
    """The folder can be read and written, or can be made."""
    check = "state folder"
    there = next(folder for folder in (state_dir, *state_dir.parents) if folder.exists())
    usable = os.access(there, os.R_OK | os.W_OK | os.X_OK)
    if there == state_dir and not there.is_dir():
        remedy = "Move that file away, or set WVO_STATE_DIR to another folder."
        return fail(check, f"{state_dir} is not a folder", remedy)
    if not usable:
        return fail(check, f"{there} is not writable", f"Give this user the rights: chmod u+rwx {there}")
    if there != state_dir:
        return warn(check, f"{state_dir} does not exist yet", "Run wvo-mcp init; a server creates it as well.")
    return ok(check, str(state_dir))


def disk(state_dir: Path) -> Finding:
    folder = next(folder for folder in (state_dir, *state_dir.parents) if folder.exists())
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return warn("disk", f"the free space is unknown: {error.strerror}", "Look with df.")
    found = f"{free / 1e9:.1f} GB free"
    if free < TOO_LITTLE_BYTES:
        return fail("disk", found, "Free some space: a full disk stops every write (store_unavailable).")
    if free < LITTLE_BYTES:
        return warn("disk", found, "Free some space before it runs out.")
    return ok("disk", found)


def file_system(state_dir: Path, mounts: str | None = None) -> Finding:
    """`mounts` is the text of /proc/self/mountinfo, read when it is not given."""
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text()
        except OSError:
            return ok("file system", "its kind is unknown; keep the state folder on a local disk")
    kind, longest, path = "unknown", -1, state_dir.resolve()
    for line in mounts.splitlines():  # that of the longest mount point above it
        fields, separator, rest = line.partition(" - ")
        words = fields.split()
        point = words[4].encode().decode("unicode_escape") if separator and len(words) > 4 else ""
        if point and path.is_relative_to(point) and len(point) >= longest:
            kind, longest = rest.split()[0], len(point)
    if kind in NETWORK or kind.startswith("fuse.ssh"):
        remedy = "Set WVO_STATE_DIR to a local disk: processes of several machines on one SQLite file can damage it."
        return warn("file system", f"{state_dir} is on {kind}, a network file system", remedy)
    return ok("file system", kind)


def roadmap(path: Path, known_ids: Callable[[Iterable[str]], set[str]]) -> Finding:
    """The file parses and its references lead somewhere; `known_ids` finds the ids that the store has."""
    try:
        parsed = read_roadmap(path, known_ids)
    except NotFound:
        remedy = "Run wvo-mcp init for a sample, or write one; tasks can also be added."
        return warn("roadmap", f"there is no {path}", remedy)
    except WvoError as error:
        return fail("roadmap", error.message, error.hint)
    if parsed.warnings:
        first, *others = parsed.warnings
        more = f" (and {len(others)} more)" if others else ""
        return warn("roadmap", f"{path}, {first}{more}", "Correct it if that is not what you meant.")
    if not parsed.tasks:
        remedy = "Write one, or restore the file; wvo-mcp alerts shows what waits for it."
        return warn("roadmap", f"no tasks in {path}", remedy)
    return ok("roadmap", f"{len(parsed.tasks)} tasks in {path}")


def directives(root: Path) -> Finding:
    files = DirectiveFiles(root)
    names = files.names()
    for name in names:
        try:
            files.read(name)
        except WvoError as error:
            return fail("directives", f"{name}: {error.message}", "Fix or remove that file.")
    if not (root / "directives").is_dir():
        remedy = "Run wvo-mcp init; until then the packaged ones are used."
        return warn("directives", f"{root} has no directives of its own", remedy)
    return ok("directives", ", ".join(names) or "none")


def providers(path: Path, environ: Mapping[str, str], trust: Trust | None = None) -> list[Finding]:
    """One finding for the file, and one for each provider that it turns on. Runs their programs, as far as a person has
    accepted them. Without a file those that are here are shown: no person asked for the others."""
    try:
        given = read(path)
    except InvalidInput as error:
        remedy = "Fix that line. Until then the last good version is used; a server that starts now assigns no tasks."
        return [fail("providers", error.message, remedy)]
    catalogue = given or defaults()
    named = ", ".join(one.name for one in catalogue.providers if one.enabled)
    file = (
        f"{named} in {path}" if named else f"every provider in {path} is turned off: attached agents work all the same"
    )
    if given is None:
        file = f"there is no {path}: defaults are used, without limits (wvo-mcp init writes one)"
    findings = [ok("providers", file)]
    if trust is not None:
        catalogue, waiting = held_back(catalogue, trust.accepted(PROVIDERS), parts_of(defaults()))
        if unaccepted := waits(waiting):
            findings.append(warn("trust", unaccepted, "Look at the difference, then accept it: wvo-mcp trust"))
    enabled = [one for one in catalogue.providers if one.enabled]
    checked = anyio.run(check_all, enabled, environ)
    for provider in enabled:
        check, found = f"provider {provider.name}", checked[provider.name]
        known = f"{found.version or 'version unknown'} at {found.program}; {found.how}"
        if found.program is None and given is not None:
            remedy = f"Install or start it, or set enabled: false for {provider.name} in providers.yaml."
            findings.append(warn(check, found.how, remedy))
        elif found.logged_in is False and given is not None:
            remedy = f"Log in with it, or set {provider.key_env or 'its key'} where servers and clients are started."
            findings.append(warn(check, known, remedy))
        elif found.program is not None:
            findings.append(ok(check, known))
    return findings
