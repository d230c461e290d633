"""The merge queue of a runner process."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from wvo_mcp.domain.lease import Caller
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.execution.merging.repository import MergeRepository
from wvo_mcp.execution.merging.verifying import Verifier
from wvo_mcp.execution.workspaces.worktree import host_name
from wvo_mcp.operations import Container
from wvo_mcp.orchestration.merging.queue import MergeQueue
from wvo_mcp.orchestration.tasks import protecting
from wvo_mcp.ports import SILENT, Store, Tracer
from wvo_mcp.settings import Settings

if TYPE_CHECKING:
    from wvo_mcp.ports.homes import Homes
    from wvo_mcp.ports.places import Places
    from wvo_mcp.ports.rules import ProjectRules

News = Callable[[Mapping[str, Any]], None]


def merge_queue(
    settings: Settings,
    services: Container,
    store: Store,
    caller: Callable[[], Caller],
    tracer: Tracer = SILENT,
    news: News = lambda _: None,
) -> MergeQueue:
    """That of ROOT's repository. The places of what has landed are cleared."""
    places = cast("Places", services.part("wvo_mcp.ports.places.Places"))
    homes = cast("Homes", services.part("wvo_mcp.ports.homes.Homes"))
    verifier = Verifier(settings.root, settings.worktrees, settings.state_dir / "workers")

    async def clear(task_id: str) -> None:
        if (left := await places.close(task_id)) is not None:
            news({"event": "left", "task_id": task_id, "reason": f"The worktree of {task_id} stays: {left}."})
        await homes.forget(task_id)

    return MergeQueue(
        store=store,
        caller=caller,
        repository=MergeRepository(settings.root, verifier, places.suspected),
        rules=cast("ProjectRules", services.part("wvo_mcp.ports.rules.ProjectRules")),
        clock=SystemClock(),
        host=host_name(),
        tracer=tracer,
        news=news,
        clear=clear,
        hold=protecting.held,
    )
