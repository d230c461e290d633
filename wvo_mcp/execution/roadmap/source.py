"""`state/roadmap.yaml` on disk: errors name lines, and writing touches only what changes.

The readers of YAML are imported when a file has to be parsed: most commands and most starts find it unchanged.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

from wvo_mcp.errors import Conflict, NotFound
from wvo_mcp.execution.replacement import disk_errors, fingerprint, locked, read_at_most, replacement

if TYPE_CHECKING:
    from wvo_mcp.domain.roadmap import Roadmap, RoadmapChanges
    from wvo_mcp.execution.roadmap.parse import RoadmapDraft


class RoadmapSource:
    """Implements `ports.RoadmapFiles` over one file; parsing and writing run beside the event loop."""

    def __init__(self, path: Path, location: str | None = None) -> None:
        self._path = path
        self.location = location

    def fingerprint(self) -> str | None:
        return fingerprint(self._path)

    async def digest(self) -> str | None:
        return await anyio.to_thread.run_sync(self._digest)

    def _digest(self) -> str | None:
        try:
            with self._path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None

    async def read(self, known: Callable[[Iterable[str]], Awaitable[set[str]]]) -> Roadmap:
        draft = await anyio.to_thread.run_sync(load_roadmap, self._path)
        missing = draft.references()
        found = await known(sorted(missing)) if missing else set[str]()
        return await anyio.to_thread.run_sync(draft.checked, found)

    async def write(self, changes: RoadmapChanges, expected_digest: str) -> str:
        return await anyio.to_thread.run_sync(write_roadmap, self._path, changes, expected_digest)


def load_roadmap(path: Path) -> RoadmapDraft:
    """The parsed file; its `checked` reports what is wrong.

    Raises NotFound without a file, InvalidInput for what is not YAML, StoreUnavailable when it cannot be read.
    """
    from wvo_mcp.execution.roadmap.parse import MAX_BYTES, parse

    name = f"{path.parent.name}/{path.name}"
    with disk_errors(path):
        data = read_at_most(path, MAX_BYTES, "roadmap", name)
    if data is None:
        error = NotFound("file", name)
        error.hint = "Write it, or let `wvo-mcp init` make a sample; tasks can also be added without it."
        raise error
    return parse(data, name)


def read_roadmap(path: Path, known_ids: Callable[[Iterable[str]], set[str]]) -> Roadmap:
    """The whole file, checked. `known_ids` returns which of the ids that it refers to but does not define exist elsewhere.

    Raises what `load_roadmap` does; InvalidInput then holds every problem with its line.
    """
    draft = load_roadmap(path)
    missing = draft.references()
    return draft.checked(known_ids(sorted(missing)) if missing else set())


def write_roadmap(path: Path, changes: RoadmapChanges, expected_digest: str) -> str:
    """Make the changes, keeping comments, order, quotes and layout of everything else; returns the new digest.

    Readers see the old file or the new one. Nothing is written when nothing changes. Raises Conflict
    when the file's digest is not `expected_digest`, and what `edited` raises; then the file is as it was.
    """
    from wvo_mcp.execution.roadmap.parse import MAX_BYTES

    path = path.resolve()
    name = f"{path.parent.name}/{path.name}"
    other = Conflict(f"{name} was changed meanwhile.", hint="Sync the roadmap, then export again.", file=name)
    with disk_errors(path), locked(path.parent):
        before = fingerprint(path)
        old = read_at_most(path, MAX_BYTES, "roadmap", name) or b""
        if hashlib.sha256(old).hexdigest() != expected_digest:
            raise other
        new = with_changes(old, name, changes)
        if new != old:
            with replacement(path) as file:
                file.write(new)
                if fingerprint(path) != before:
                    raise other
        return hashlib.sha256(new).hexdigest()


def with_changes(data: bytes, name: str, changes: RoadmapChanges) -> bytes:
    """The file's content with the changes; `name` is for messages. Raises what `edited` does."""
    from wvo_mcp.execution.roadmap.edit import edited
    from wvo_mcp.execution.roadmap.parse import MAX_BYTES
    from wvo_mcp.execution.yaml.reading import decoded

    mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    return mark + edited(decoded(data, MAX_BYTES, "roadmap", name), name, changes).encode()
