"""Sessions whose servers live and die as a test says."""

from wvo_mcp.domain.lease import Caller, Role


class Servers:
    """`ports.Liveness`: every session's server lives until it is killed."""

    def __init__(self) -> None:
        self._dead: set[str] = set()

    def alive(self, session_id: str) -> bool:
        return session_id not in self._dead

    def kill(self, session_id: str) -> None:
        self._dead.add(session_id)

    def revive(self, session_id: str) -> None:
        self._dead.discard(session_id)


def an_agent(
    agent_id: str = "ann", session: str | None = None, *capabilities: str, durable: bool = False, worker: bool = False
) -> Caller:
    """A caller; its session is `<agent>/1` unless another is named."""
    return Caller(
        agent_id=agent_id,
        session_id=session or f"{agent_id}/1",
        client="tests",
        capabilities=tuple(capabilities),
        durable=durable,
        worker=worker,
    )


def a_person(name: str = "owner") -> Caller:
    """A human at the command line."""
    return Caller(agent_id=name, session_id=f"cli:{name}", client="cli", durable=True, role=Role.ADMIN)
