"""Leaders whose jobs need no import."""

from collections.abc import Callable, Sequence

from wvo_mcp.domain.lease import Caller
from wvo_mcp.orchestration.leader import Leader, LeaderJob
from wvo_mcp.ports import Clock, Store


def a_leader(store: Store, caller: Callable[[], Caller], clock: Clock, jobs: Sequence[LeaderJob]) -> Leader:
    async def have() -> Sequence[LeaderJob]:
        return jobs

    return Leader(store, caller, clock, have)
