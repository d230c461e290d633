"""What this machine has of a provider: installed, which version, logged in. No secret is shown or kept."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import anyio
import anyio.to_thread

from wvo_mcp.domain.known_secrets import register_secret
from wvo_mcp.domain.providers.catalogue import Place, Provider
from wvo_mcp.execution.providers.logins import Login, by_file, by_variable, missing
from wvo_mcp.execution.providers.presence import program
from wvo_mcp.ports.providers import ProviderCheck
from wvo_mcp.processes import NotStarted, Program, run

MOST_SECONDS = 10.0
_VERSION_SECONDS = 8.0
_KEY_SECONDS = 5.0
_SERVER_SECONDS = 3.0
_VERSION_BYTES = 4_000
_VERSION = re.compile(
    rb"(?<![\w.-])v?([0-9]{1,6}(?:\.[0-9]{1,6}){1,3}(?:-(?:alpha|beta|rc|preview|nightly|dev)[0-9.]{0,20})?)(?![\w-]|\.\w)"
)


async def check_all(providers: Sequence[Provider], environ: Mapping[str, str]) -> dict[str, ProviderCheck]:
    """By name, all at once."""
    late = f"not known within {MOST_SECONDS:g} s"
    found = {one.name: ProviderCheck(one.name, None, None, None, late) for one in providers}

    async def one(provider: Provider) -> None:
        found[provider.name] = await check(provider, environ)

    with anyio.move_on_after(MOST_SECONDS):
        async with anyio.create_task_group() as tasks:
            for provider in providers:
                tasks.start_soon(one, provider)
    return found


async def check(provider: Provider, environ: Mapping[str, str]) -> ProviderCheck:
    """Runs its program and its key command, or asks its server."""
    if provider.base_url is not None and not provider.command:
        return await _server(provider, environ)
    path = await anyio.to_thread.run_sync(program, provider, environ)
    version: str | None = None
    login = Login(None, "")

    async def ask_version() -> None:
        nonlocal version
        if path is not None:
            version = await _version(path, environ)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask_version)
        login = await _login(provider, environ)
    how = login.how if path is not None else f"{provider.command[0]} is not on PATH; {login.how}"
    return ProviderCheck(provider.name, path, version, login.here, how)


async def _server(provider: Provider, environ: Mapping[str, str]) -> ProviderCheck:
    if provider.place is not Place.LOCAL:
        login = await _login(provider, environ)
        return ProviderCheck(provider.name, provider.base_url, None, login.here, login.how)
    from wvo_mcp.execution.providers.servers import check_closed  # the client of HTTP takes its time

    found = await check_closed(provider, _SERVER_SECONDS)
    if not found.presence.found:
        return ProviderCheck(provider.name, None, None, None, found.presence.note)
    keyed = provider.key_env is not None or bool(provider.key_command)
    login = await _login(provider, environ) if keyed else Login(True, "it answers, and needs no key")
    models = tuple(sorted(found.presence.models or ()))[:50]
    return ProviderCheck(provider.name, provider.base_url, found.version, login.here, login.how, models)


async def _login(provider: Provider, environ: Mapping[str, str]) -> Login:
    found = by_variable(provider, environ)
    if found is not None:
        return found
    if provider.key_command:
        return await _key_command(provider, environ)
    file = await anyio.to_thread.run_sync(by_file, provider, environ, datetime.now(UTC))
    return file if file is not None and file.here else missing(provider, file)


async def _key_command(provider: Provider, environ: Mapping[str, str]) -> Login:
    """What it prints is thrown away at once; whether it is anything is all that is kept."""
    command = Program(argv=provider.key_command, env=environ, deadline=_KEY_SECONDS, leaves_children=True)
    try:
        ended = await run(command, keep=200)
    except NotStarted as error:
        return Login(False, f"key_command cannot be started ({error})")
    if ended.limit is not None:
        return Login(False, f"key_command took longer than {_KEY_SECONDS:g} s")
    if ended.code != 0:
        return Login(False, f"key_command ended with {ended.code}")
    register_secret(ended.stdout.decode(errors="replace"))
    return (
        Login(True, "key_command prints a key") if ended.stdout.strip() else Login(False, "key_command prints nothing")
    )


async def _version(path: str, environ: Mapping[str, str]) -> str | None:
    """Only what looks like a version is taken from its output."""
    try:
        ended = await run(
            Program(argv=(path, "--version"), env=environ, deadline=_VERSION_SECONDS), keep=_VERSION_BYTES
        )
    except NotStarted:
        return None
    found = _VERSION.search(ended.stdout) if ended.code == 0 else None
    return found[1].decode() if found else None
