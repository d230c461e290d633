"""Who calls: the agent, its session and its provider, as the environment and the client tell."""

import os

from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.text import as_id
from wvo_mcp.processes import parent_started_at
from wvo_mcp.settings import Settings


def agent_name(settings: Settings, client: str | None) -> str:
    """WVO_AGENT_ID; else client + CLAUDE_CODE_SESSION_ID; else client + parent process and its start, so that a respawned
    server is the same agent."""
    if settings.agent_id is not None:
        return settings.agent_id
    session = os.environ.get("CLAUDE_CODE_SESSION_ID")
    return as_id(f"{client or 'agent'}-{session or f'{os.getppid()}-{parent_started_at()}'}")


def provider_of(settings: Settings, client: str | None) -> str | None:
    """WVO_PROVIDER; else the provider whose name stands in the client's."""
    if settings.provider is not None:
        return settings.provider
    return next((name for name in ("claude", "codex", "gemini") if client is not None and name in client.lower()), None)


def cli_caller(settings: Settings) -> Caller:
    """Commands of one agent share a durable session: no process stands for it, so nothing ends it but its leases."""
    agent_id = agent_name(settings, "cli")
    return Caller(
        agent_id=agent_id,
        session_id=f"cli:{agent_id}",
        provider=settings.provider,
        client="cli",
        capabilities=settings.capabilities,
        durable=True,
        person=True,
    )


class Connection:
    """The one client of this process: which caller it is, once its name is known."""

    def __init__(self, settings: Settings, session_id: str) -> None:
        self._settings = settings
        self._session_id = session_id
        self._by_client: dict[str | None, Caller] = {}
        self.caller = self.identify(None)

    def identify(self, client: str | None) -> Caller:
        known = self._by_client.get(client)
        if known is None:
            known = Caller(
                agent_id=agent_name(self._settings, client),
                session_id=self._session_id,
                provider=provider_of(self._settings, client),
                client=client,
                capabilities=self._settings.capabilities,
            )
            self._by_client[client] = known
        self.caller = known
        return known
