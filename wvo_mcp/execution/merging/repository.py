"""`ports.merging.Repository`: the repository around ROOT, as the merge queue sees it."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from anyio import to_thread

from wvo_mcp.domain.rules import MergeMode
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.merging.building import built
from wvo_mcp.execution.merging.contents import check_here, check_there
from wvo_mcp.execution.merging.landing import landed_here
from wvo_mcp.execution.merging.predicting import predicted
from wvo_mcp.execution.merging.pull_requests import followed, requested
from wvo_mcp.execution.merging.pushing import brought, fetched_tip, pinned_remotely, pushed, remote_of
from wvo_mcp.execution.merging.remote_refs import listed, removed
from wvo_mcp.execution.workspaces.repository import Common, Tampered
from wvo_mcp.ports.merging import Candidate, Landed, Landing, NotNow, Predicted, RemoteRef, Verdict

T = TypeVar("T")


class Verifies(Protocol):
    """Runs the commands on a candidate, in a worktree of ours."""

    async def verify(
        self,
        common: Common,
        candidate: Candidate,
        commands: Sequence[str],
        *,
        seconds: float,
        setup: str | None,
        names: Sequence[str],
    ) -> Verdict:
        """Raises NotNow."""
        ...


class MergeRepository:
    """`suspected`: what somebody has changed of the repository's own files since workers began (`Places.suspected`); nothing
    is run there before a person has looked."""

    def __init__(self, root: Path, verifier: Verifies, suspected: Callable[[], Awaitable[list[str]]]) -> None:
        self._root = root.resolve()
        self._verifier = verifier
        self._suspected = suspected

    async def tip(self, target: str, mode: MergeMode) -> str:
        return await self._done(lambda common: _tip(common, target, mode))

    async def build(self, landing: Landing, tip: str) -> Candidate:
        return await self._done(lambda common: _built(common, landing, tip))

    async def verify(
        self, candidate: Candidate, commands: Sequence[str], *, seconds: float, setup: str | None, names: Sequence[str]
    ) -> Verdict:
        common = await self._done(lambda common: common)
        return await self._verifier.verify(common, candidate, commands, seconds=seconds, setup=setup, names=names)

    async def land(self, landing: Landing, candidate: Candidate) -> Landed:
        why = f"wvo-mcp: {landing.task_id} landed ({landing.entry_id})"
        return await self._done(lambda common: _land(common, landing, candidate, why))

    async def landed(self, landing: Landing, candidate: str) -> Landed | None:
        return await self._done(lambda common: _landed(common, landing, candidate))

    async def predict(self, tip: str, landings: Sequence[Landing]) -> list[Predicted]:
        return await self._done(lambda common: predicted(common, tip, landings))

    async def remote_refs(self, target: str) -> list[RemoteRef]:
        return await self._done(lambda common: listed(common, remote_of(common, target)))

    async def forget(self, target: str, refs: Sequence[RemoteRef]) -> None:
        return await self._done(lambda common: removed(common, remote_of(common, target), refs))

    async def _done(self, work: Callable[[Common], T]) -> T:
        """Raises NotNow for whatever git does not do, and what `work` raises."""
        if lines := await self._suspected():
            raise NotNow(f"the repository's own files were changed; see wvo-mcp trust: {lines[0]}")

        def run() -> T:
            common = Common.of(self._root)
            if common is None:
                raise NotNow(f"{self._root} is not in a git repository")
            return work(common)

        try:
            return await to_thread.run_sync(run)
        except Tampered as error:
            raise NotNow(f"the repository's own files were changed; see wvo-mcp trust: {error}") from None
        except (GitFailed, OSError) as error:
            raise NotNow(f"git could not do it: {error}") from None


def _tip(common: Common, target: str, mode: MergeMode) -> str:
    if mode is not MergeMode.LOCAL:
        return fetched_tip(common, remote_of(common, target), target)
    if (tip := common.commit_of(f"refs/heads/{target}")) is None:
        raise NotNow(f"there is no branch {target} here: make it, or name another as project.target in roadmap.yaml")
    return tip


def _built(common: Common, landing: Landing, tip: str) -> Candidate:
    local = landing.mode is MergeMode.LOCAL
    missing = next((one for one in (landing.commit, landing.base) if common.commit_of(one) is None), None)
    if missing is not None and local:
        raise NotNow(f"the commit {missing[:12]} of {landing.entry_id} is not in this repository", passing=False)
    if missing is not None and not brought(common, remote_of(common, landing.target), landing):
        raise NotNow(f"the commit {missing[:12]} of {landing.entry_id} is on another host, which has yet to push it")
    candidate = built(common, landing, tip)
    if local:
        check_here(common, landing.target, candidate)
    else:  # before the queue notes the candidate: other hosts may land it from then on
        remote = remote_of(common, landing.target)
        pairs = [(tip, candidate.commit), *([] if landing.undo else [(landing.base, landing.commit)])]
        check_there(common, remote, landing.target, tip, pairs)
        pinned_remotely(common, remote, landing)
    return candidate


def _land(common: Common, landing: Landing, candidate: Candidate, why: str) -> Landed:
    if landing.mode is MergeMode.LOCAL:
        return landed_here(common, landing.target, candidate, why)
    remote = remote_of(common, landing.target)
    if landing.mode is MergeMode.PULL_REQUEST:
        return requested(common, remote, landing, candidate)
    return pushed(common, remote, landing.target, candidate)


def _landed(common: Common, landing: Landing, candidate: str) -> Landed | None:
    if landing.mode is MergeMode.PULL_REQUEST:
        return followed(common, remote_of(common, landing.target), landing)
    there = common.contains(_tip(common, landing.target, landing.mode), candidate)
    return Landed(commit=candidate) if there else None
