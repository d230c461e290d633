"""Which providers are here: programs that are installed, and local servers that answer."""

import shutil
from collections.abc import Mapping, Sequence

import anyio
import anyio.to_thread

from wvo_mcp.domain.providers.catalogue import Place, Provider
from wvo_mcp.domain.providers.routing import Presence

LOOK_SECONDS = 0.3


async def found(providers: Sequence[Provider], environ: Mapping[str, str]) -> dict[str, Presence]:
    """By name; all are looked for at once. Cloud servers are not asked: nobody there wants a request every 30 seconds."""
    seen: dict[str, Presence] = {}
    enabled = [one for one in providers if one.enabled]
    local = [one for one in enabled if one.place is Place.LOCAL and one.base_url is not None]

    async def server(provider: Provider) -> None:
        from wvo_mcp.execution.providers.servers import look_at  # the client of HTTP takes its time

        seen[provider.name] = (await look_at(provider, LOOK_SECONDS)).presence

    async with anyio.create_task_group() as tasks:
        for provider in local:
            tasks.start_soon(server, provider)
        seen |= await anyio.to_thread.run_sync(_programs, [one for one in enabled if one.command], environ)
    return seen


def program(provider: Provider, environ: Mapping[str, str]) -> str | None:
    """The path of its program, if it is installed."""
    return shutil.which(provider.command[0], path=environ.get("PATH")) if provider.command else None


def _programs(providers: Sequence[Provider], environ: Mapping[str, str]) -> dict[str, Presence]:
    seen: dict[str, Presence] = {}
    for provider in providers:
        there = program(provider, environ) is not None
        seen[provider.name] = Presence(there, note="" if there else f"{provider.command[0]} is not installed")
    return seen
