"""Commands of accepted plans: no file of the project states them, so they are kept beside what was accepted of those."""

from collections.abc import Mapping, Sequence

from anyio import to_thread

from wvo_mcp.execution.trust import PLANS, Trust


class AcceptedPlans:
    """`ports.planning.AcceptedCommands` in `trust.json`."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust

    async def accept(self, commands: Mapping[str, Sequence[str]]) -> None:
        await to_thread.run_sync(self._accept, commands)

    def _accept(self, commands: Mapping[str, Sequence[str]]) -> None:
        known = self._trust.accepted(PLANS)
        now = {name: list(each) for name, each in {**known, **commands}.items() if each}
        if now != known:
            self._trust.accept(PLANS, now)
