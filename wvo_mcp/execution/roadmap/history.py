"""Exports of the roadmap as commits in the workspace's repository, beside the person's own work in it.

What is committed is the last committed roadmap with the changes of this export made to it: edits of the file that the
person has not committed stay theirs.
"""

import logging
import time
from collections import deque
from pathlib import Path

import anyio.to_thread

from wvo_mcp.domain.roadmap import RoadmapChanges
from wvo_mcp.errors import WvoError
from wvo_mcp.execution.git import Entry, GitFailed, Repository
from wvo_mcp.execution.roadmap.source import with_changes
from wvo_mcp.ports import Recorded

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 2.0
_PAUSE_SECONDS = 0.05
_REMEMBERED = 8


class _LeftAlone(Exception):
    """The repository is in a state in which a commit would be in the person's way; the text is the reason."""


class _Ignored(_LeftAlone):
    """The person does not want the file in the repository: that is said once."""


class RoadmapCommits:
    """`ports.RoadmapHistory` over the git repository around the roadmap, if there is one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_reported = False
        self._ours: deque[Entry] = deque(maxlen=_REMEMBERED)

    async def record(self, changes: RoadmapChanges, message: str) -> Recorded:
        return await anyio.to_thread.run_sync(self._record, changes, message)

    def _record(self, changes: RoadmapChanges, message: str) -> Recorded:
        try:
            path = self._path.resolve()
            repository = Repository.around(path.parent)
            if repository is None:
                return Recorded()
            name = path.relative_to(repository.root.resolve()).as_posix()
            return Recorded(commit=_committed(repository, path, name, changes, message, self._ours))
        except _LeftAlone as why:
            note = f"The export is not committed: {why}."
            if isinstance(why, _Ignored):
                was_reported, self._is_reported = self._is_reported, True
                return Recorded() if was_reported else Recorded(note=note)
        except (GitFailed, OSError, ValueError) as error:
            note = f"The export could not be committed: {error}."
        logger.warning("%s", note)
        return Recorded(note=note)


def _committed(
    repository: Repository, path: Path, name: str, changes: RoadmapChanges, message: str, ours: deque[Entry]
) -> str | None:
    """The commit; None when the committed roadmap has all of it already. `ours` is what was staged here and put back."""
    until = time.monotonic() + _RETRY_SECONDS
    while True:
        unfinished = repository.unfinished()
        if unfinished is not None:
            raise _LeftAlone(f"{unfinished} is in progress")
        head = _head(repository)
        if ours and repository.staged(name) in ours:
            # `git commit FILE` reads the index before it locks it, and so may bring back what was put back here.
            _put_back(repository, name, repository.committed(head, name), until)
        before, entry = _wanted(repository, head, path, name, changes)
        if entry == before:
            return None
        commit = repository.commit(head, name, entry, message)
        try:
            # The index first: a crash before the branch moves leaves the export staged, which undoes nothing.
            repository.stage(name, entry)
        except GitFailed as error:
            busy = str(error)
        else:
            if repository.advance(head, commit, f"wvo-mcp: {message.splitlines()[0]}"):
                return commit
            busy = "the branch moves"
            if repository.committed(_head(repository), name) != entry:  # else the person's commit took it along
                ours.append(entry)
                _put_back(repository, name, before, until)
        if time.monotonic() > until:
            raise _LeftAlone(f"other git commands keep the repository busy, or one that died left its lock ({busy})")
        time.sleep(_PAUSE_SECONDS)


def _put_back(repository: Repository, name: str, before: Entry | None, until: float) -> None:
    """What stays staged would keep every later export from being committed, so a lock of a moment is waited for."""
    while True:
        try:
            return repository.stage(name, before)
        except GitFailed:
            if time.monotonic() > until:
                raise
        time.sleep(_PAUSE_SECONDS)


def _head(repository: Repository) -> str:
    head = repository.head()
    if head is None:
        raise _LeftAlone("the repository has no commit yet; make the first one")
    if repository.branch() is None:
        raise _LeftAlone("no branch is checked out, and a commit would be lost with the next checkout")
    return head


def _wanted(
    repository: Repository, head: str, path: Path, name: str, changes: RoadmapChanges
) -> tuple[Entry | None, Entry]:
    """The roadmap as the last commit has it, and as the next one shall."""
    committed, staged = repository.committed(head, name), repository.staged(name)
    if staged != committed:
        raise _LeftAlone(f"you have staged changes of {name}; commit them, and what the export wrote with them")
    if committed is None:
        if repository.ignores(name):
            raise _Ignored(f"git ignores {name}")
        return None, Entry("100644", repository.store(path.read_bytes(), as_file=name))
    if not committed.plain:
        raise _LeftAlone(f"{name} is not a plain file in the repository")
    try:
        content = with_changes(repository.content(committed.blob), name, changes)
    except WvoError as error:
        raise _LeftAlone(
            f"it builds on changes of {name} that you have not committed; commit the file ({error.message})"
        ) from error
    return committed, Entry(committed.mode, repository.store(content))
