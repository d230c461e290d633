"""`state/roadmap.yaml` on disk: errors name lines, and writing touches only what changes."""

import codecs
import contextlib
from collections.abc import Callable, Generator, Iterable
from pathlib import Path

from wvo_mcp.domain.roadmap import Roadmap, RoadmapChanges
from wvo_mcp.errors import Conflict, NotFound, StoreUnavailable
from wvo_mcp.execution.replacement import fingerprint, locked, replacement
from wvo_mcp.execution.roadmap.edit import edited
from wvo_mcp.execution.roadmap.parse import MAX_BYTES, RoadmapDraft, decoded, digest, parse
from wvo_mcp.execution.yaml.source import Problem, read_at_most, refusal


def load_roadmap(path: Path) -> RoadmapDraft:
    """The parsed file; its `checked` reports what is wrong.

    Raises NotFound without a file, InvalidInput for what is not YAML, StoreUnavailable when it cannot be read.
    """
    name = _shown(path)
    data = _bytes(path, name)
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
    path = path.resolve()
    name = _shown(path)
    with _stored(name), locked(path.parent):
        before = fingerprint(path)
        old = _bytes(path, name) or b""
        if digest(old) != expected_digest:
            raise _other(name)
        new = with_changes(old, name, changes)
        if new != old:
            if len(new) > MAX_BYTES:
                problem = f"expected at most {MAX_BYTES // 2**20} MiB; the export would make it larger"
                raise refusal("roadmap", name, [Problem(1, None, "", problem)], 1)
            with replacement(path) as file:
                file.write(new)
                if fingerprint(path) != before:
                    raise _other(name)
        return digest(new)


def with_changes(data: bytes, name: str, changes: RoadmapChanges) -> bytes:
    """The file's content with the changes; `name` is for messages. Raises what `edited` does."""
    text, marked = decoded(data, name)
    return (codecs.BOM_UTF8 if marked else b"") + edited(text, name, changes).encode()


def _shown(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _other(name: str) -> Conflict:
    return Conflict(f"{name} was changed meanwhile.", hint="Sync the roadmap, then export again.", file=name)


def _bytes(path: Path, name: str) -> bytes | None:
    """None without a file. One byte more than is allowed is read at most."""
    with _stored(name):
        return read_at_most(path, MAX_BYTES, "roadmap", name)


@contextlib.contextmanager
def _stored(name: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreUnavailable(f"{name} cannot be read or written: {reason}.", file=name) from error
