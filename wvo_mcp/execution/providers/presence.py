"""Which providers are here: programs that are installed, and local servers that answer."""

import shutil
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from wvo_mcp.domain.providers.catalogue import Place, Provider
from wvo_mcp.domain.providers.state import Presence
from wvo_mcp.execution.providers.logins import by_file, by_variable

LOOK_SECONDS = 0.3


async def found(providers: Sequence[Provider], environ: Mapping[str, str]) -> dict[str, Presence]:
    """By name; all are looked for at once. Cloud servers are not asked: they are not for a request every 30 seconds."""
    seen: dict[str, Presence] = {}
    enabled = [one for one in providers if one.enabled]
    local = [one for one in enabled if one.place is Place.LOCAL and one.base_url is not None]

    async def server(provider: Provider) -> None:
        until = anyio.current_time() + LOOK_SECONDS  # what the import takes is not the server's time
        refusal = await _knock(provider)
        if refusal is not None:
            seen[provider.name] = refusal
            return
        left = until - anyio.current_time()
        from wvo_mcp.execution.providers.servers import check_closed  # the client of HTTP takes a tenth of a second

        seen[provider.name] = (await check_closed(provider, left)).presence

    programs: dict[str, Presence] = {}
    async with anyio.create_task_group() as tasks:
        for provider in local:
            tasks.start_soon(server, provider)
        programs = await anyio.to_thread.run_sync(_programs, [one for one in enabled if one.command], environ)
    # A program that works with a server here needs both.
    return seen | {name: there for name, there in programs.items() if name not in seen or not there.found}


async def _knock(provider: Provider) -> Presence | None:
    """Does anything listen there? A command that finds nothing need not load the client of HTTP."""
    parts = urlsplit(provider.base_url or "")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with anyio.fail_after(LOOK_SECONDS):
            stream = await anyio.connect_tcp(parts.hostname or "", port)
    except TimeoutError:
        return Presence(found=False, note=f"{provider.base_url} does not answer within {LOOK_SECONDS * 1000:.0f} ms")
    except socket.gaierror:
        return Presence(found=False, note=f"the host of {provider.base_url} is not known")
    except OSError:
        return Presence(found=False, note=f"it is not running: nothing listens at {provider.base_url}")
    await anyio.aclose_forcefully(stream)
    return None


def program(provider: Provider, environ: Mapping[str, str]) -> str | None:
    """The path of its program, if it is installed."""
    return shutil.which(provider.command[0], path=environ.get("PATH")) if provider.command else None


def _programs(providers: Sequence[Provider], environ: Mapping[str, str]) -> dict[str, Presence]:
    seen: dict[str, Presence] = {}
    for provider in providers:
        if program(provider, environ) is None:
            seen[provider.name] = Presence(found=False, note=f"{provider.command[0]} is not installed")
            continue
        login = by_variable(provider, environ)
        if login is None and not provider.key_command:  # which is not run for a look
            login = by_file(provider, environ, datetime.now(UTC))
        seen[provider.name] = Presence(found=True, logged_in=None if login is None else login.here)
    return seen
