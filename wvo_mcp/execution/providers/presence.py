"""What this machine has of a provider: its program and version, a login or a key, a local server and its models.

No secret is shown or kept. What answers on a port of this machine may be anything: nothing is waited for beyond its time, no
more than MOST_BYTES of an answer are read, no proxy is asked, no redirect followed, no key sent.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.known_secrets import register_secret
from wvo_mcp.domain.providers.catalogue import Place, Provider, ProviderKind
from wvo_mcp.domain.providers.state import Presence
from wvo_mcp.ports.providers import ProviderCheck
from wvo_mcp.processes import NotStarted, Program, run

if TYPE_CHECKING:
    import httpx2

LOOK_SECONDS = 0.3
MOST_SECONDS = 10.0
MOST_BYTES = 1_000_000
_VERSION_SECONDS = 8.0
_KEY_SECONDS = 5.0
_SERVER_SECONDS = 3.0
_MOST_MODELS = 1_000
_VERSION = re.compile(
    rb"(?<![\w.-])v?([0-9]{1,6}(?:\.[0-9]{1,6}){1,3}(?:-(?:alpha|beta|rc|preview|nightly|dev)[0-9.]{0,20})?)(?![\w-]|\.\w)"
)
_VARIABLES: Mapping[ProviderKind, tuple[str, ...]] = {
    ProviderKind.CLAUDE: (
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "CLAUDE_CODE_USE_BEDROCK",
        "CLAUDE_CODE_USE_VERTEX",
    ),
    ProviderKind.CODEX: ("OPENAI_API_KEY", "CODEX_API_KEY"),
    ProviderKind.GEMINI: ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_APPLICATION_CREDENTIALS"),
}
"""What the programs themselves look for."""
_LOGINS = {
    ProviderKind.CLAUDE: ("CLAUDE_CONFIG_DIR", ".claude", ".credentials.json", "claudeAiOauth", "expiresAt", "refreshToken"),
    ProviderKind.CODEX: ("CODEX_HOME", ".codex", "auth.json", "", "", ""),
    ProviderKind.GEMINI: ("", ".gemini", "oauth_creds.json", "", "expiry_date", "refresh_token"),
}  # fmt: skip
"""Where they keep a login: the variable that names their folder, which is else this one in the home, and the file; within
it the object that holds the login, and its fields for the end in milliseconds since 1970 and for the renewal."""


class Login(NamedTuple):
    """`here` is None when that is not known. `how` names a variable or a file, never its content."""

    here: bool | None
    how: str


async def found(providers: Sequence[Provider], environ: Mapping[str, str]) -> dict[str, Presence]:
    """A look, by name, at all of them at once: runs nothing, and asks no cloud server."""
    seen: dict[str, Presence] = {}
    enabled = [one for one in providers if one.enabled]

    async def server(provider: Provider) -> None:
        seen[provider.name] = (await _server(provider, LOOK_SECONDS))[0]

    programs: dict[str, Presence] = {}
    async with anyio.create_task_group() as tasks:
        for provider in enabled:
            if provider.place is Place.LOCAL and provider.base_url is not None:
                tasks.start_soon(server, provider)
        programs = await anyio.to_thread.run_sync(_programs, [one for one in enabled if one.command], environ)
    # A program that works with a server here needs both.
    return seen | {name: there for name, there in programs.items() if name not in seen or not there.found}


def _programs(providers: Sequence[Provider], environ: Mapping[str, str]) -> dict[str, Presence]:
    seen: dict[str, Presence] = {}
    for provider in providers:
        if _path(provider, environ) is None:
            seen[provider.name] = Presence(found=False, note=f"{provider.command[0]} is not installed")
        else:
            login = _login(provider, environ)
            seen[provider.name] = Presence(found=True, logged_in=None if login is None else login.here)
    return seen


async def check_all(providers: Sequence[Provider], environ: Mapping[str, str]) -> dict[str, ProviderCheck]:
    """By name, all at once."""
    late = f"not known within {MOST_SECONDS:g} s"
    checked = {one.name: ProviderCheck(one.name, None, None, None, late) for one in providers}

    async def one(provider: Provider) -> None:
        checked[provider.name] = await check(provider, environ)

    with anyio.move_on_after(MOST_SECONDS):
        async with anyio.create_task_group() as tasks:
            for provider in providers:
                tasks.start_soon(one, provider)
    return checked


async def check(provider: Provider, environ: Mapping[str, str]) -> ProviderCheck:
    """Runs its program and its key command, or asks its server."""
    if provider.base_url is None or provider.command:
        return await _program(provider, environ)
    version, models, login = None, (), None
    if provider.place is Place.LOCAL:
        there, version = await _server(provider, _SERVER_SECONDS)
        if not there.found:
            return ProviderCheck(provider.name, None, None, None, there.note)
        models = tuple(sorted(there.models or ()))[:50]
        if provider.key_env is None and not provider.key_command:
            login = Login(True, "it answers, and needs no key")
    login = login or await _tried_login(provider, environ)
    return ProviderCheck(provider.name, provider.base_url, version, login.here, login.how, models)


async def _program(provider: Provider, environ: Mapping[str, str]) -> ProviderCheck:
    path = await anyio.to_thread.run_sync(_path, provider, environ)
    version, login = None, Login(None, "")

    async def ask_version() -> None:
        nonlocal version
        if path is not None:
            version = await _version(path, environ)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask_version)
        login = await _tried_login(provider, environ)
    how = login.how if path is not None else f"{provider.command[0]} is not on PATH; {login.how}"
    return ProviderCheck(provider.name, path, version, login.here, how)


def _path(provider: Provider, environ: Mapping[str, str]) -> str | None:
    return shutil.which(provider.command[0], path=environ.get("PATH")) if provider.command else None


async def _version(path: str, environ: Mapping[str, str]) -> str | None:
    """Only what looks like a version is taken from its output."""
    try:
        ended = await run(Program(argv=(path, "--version"), env=environ, deadline=_VERSION_SECONDS), keep=4_000)
    except NotStarted:
        return None
    shown = _VERSION.search(ended.stdout) if ended.code == 0 else None
    return shown[1].decode() if shown else None


async def _tried_login(provider: Provider, environ: Mapping[str, str]) -> Login:
    login = await anyio.to_thread.run_sync(_login, provider, environ)
    if login is not None:
        return login
    # What it prints is thrown away at once; whether it is anything is all that is kept.
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
    here = bool(ended.stdout.strip())
    return Login(here, f"key_command prints {'a key' if here else 'nothing'}")


def _login(provider: Provider, environ: Mapping[str, str]) -> Login | None:
    """By names of variables and files; None where only its key command knows."""
    own = (provider.key_env,) if provider.key_env else ()
    for name in (*own, *_VARIABLES.get(provider.kind, ())):
        if environ.get(name, "").strip():
            return Login(True, f"{name} is set")
    if provider.key_command:
        return None
    kept = _kept(provider.kind, environ)
    if provider.key_env is None:
        return kept or Login(None, "providers.yaml names no key")
    if kept is None:
        return Login(False, f"{provider.key_env} is not set")
    return kept if kept.here else Login(kept.here, f"{provider.key_env} is not set; {kept.how}")


def _kept(kind: ProviderKind, environ: Mapping[str, str]) -> Login | None:
    """The login that a program keeps in the home of this user; None for what is not a program."""
    if kind not in _LOGINS:
        return None
    variable, folder, name, inside, expiry, renewal = _LOGINS[kind]
    home = Path(environ.get("HOME") or Path.home())
    path = Path(environ.get(variable) or home / folder) / name
    shown = f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
    try:
        with path.open("rb") as file:
            content: Any = json.loads(file.read(MOST_BYTES))
        login = _field(content, inside) if inside else content
        problem = "" if isinstance(login, dict) and login else f"{shown} holds no login"
    except FileNotFoundError:
        login, problem = None, f"there is no {shown}"
    except OSError as error:
        return Login(None, f"{shown} cannot be read: {error.strerror}")
    except (ValueError, RecursionError):
        return Login(None, f"{shown} cannot be understood")
    if not problem:
        until = _instant(_field(login, expiry))
        if until is None or until > datetime.now(UTC):
            return Login(True, shown if until is None else f"{shown}, until {iso(until)[:16]}Z")
        if _field(login, renewal):
            return Login(True, f"{shown}, renewed when it is used")
        problem = f"{shown} expired at {iso(until)[:16]}Z"
    if kind is ProviderKind.CLAUDE and sys.platform == "darwin":
        return Login(None, "the keychain, where claude keeps its login on this system, is not read")
    return Login(False, problem)


def _instant(milliseconds: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (TypeError, OverflowError, ValueError, OSError):
        return None


async def _server(provider: Provider, seconds: float) -> tuple[Presence, str | None]:
    """What answers at its `base_url`, and the version that it reports."""
    base, until = (provider.base_url or "").rstrip("/"), anyio.current_time() + seconds
    parts, slow = urlsplit(base), f"{base} does not answer within {seconds * 1000:.0f} ms"
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:  # the client of HTTP takes a tenth of a second to import: only where anything listens
        with anyio.fail_after(seconds):
            stream = await anyio.connect_tcp(parts.hostname or "", port)
    except TimeoutError:
        return Presence(found=False, note=slow), None
    except socket.gaierror:
        return Presence(found=False, note=f"the host of {base} is not known"), None
    except OSError:
        return Presence(found=False, note=f"it is not running: nothing listens at {base}"), None
    await anyio.aclose_forcefully(stream)
    seconds = until - anyio.current_time()  # what the import takes is not the server's time
    import httpx2

    version: str | None = None
    try:
        with anyio.fail_after(seconds):
            # Where nothing has to be verified the certificates are not loaded, which would take a third of the time.
            async with httpx2.AsyncClient(
                trust_env=False, follow_redirects=False, verify=parts.scheme == "https", timeout=seconds
            ) as client:
                if provider.kind is not ProviderKind.OLLAMA:
                    return await _openai(client, base), None
                root = base.removesuffix("/v1")
                status, answer = await _get(client, f"{root}/api/version")
                version = _field(answer, "version")
                if status != 200 or not isinstance(version, str):
                    what = f"{base}, which answers {status}," if status != 200 else f"what answers at {base}"
                    return Presence(found=False, note=f"{what} is not Ollama"), None
                version = version[:40]
                status, answer = await _get(client, f"{root}/api/tags")
                names = _names(_field(answer, "models"), "name") if status == 200 else None
                models = names and names | {name.removesuffix(":latest") for name in names}
                return Presence(found=True, models=models), version
    except (TimeoutError, httpx2.TimeoutException):
        note = slow
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        note = f"what answers at {base} cannot be understood ({type(error).__name__})"
    if version is not None:  # an Ollama whose list of models does not come is there all the same
        return Presence(found=True), version
    return Presence(found=False, note=note), None


async def _openai(client: httpx2.AsyncClient, base: str) -> Presence:
    status, answer = await _get(client, f"{base}/models" if base.count("/") > 2 else f"{base}/v1/models")
    if status in (401, 403):  # it is there, and lists its models only with a key
        return Presence(found=True)
    if status != 200:
        return Presence(found=False, note=f"{base} answers {status}")
    models = _names(_field(answer, "data"), "id")
    if models is None:
        return Presence(found=False, note=f"what answers at {base} does not speak the OpenAI interface")
    return Presence(found=True, models=models)


async def _get(client: httpx2.AsyncClient, url: str) -> tuple[int, Any]:
    """The status and the JSON; None where that is too long or cannot be understood."""
    body = bytearray()
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    async with client.stream("GET", url, headers=headers) as answer:
        async for chunk in answer.aiter_raw():
            body += chunk
            if len(body) > MOST_BYTES:
                return answer.status_code, None
    try:
        return answer.status_code, json.loads(body)
    except (ValueError, RecursionError):
        return answer.status_code, None


def _field(value: Any, name: str) -> Any:
    return cast("dict[str, Any]", value).get(name) if isinstance(value, dict) else None


def _names(value: Any, key: str) -> frozenset[str] | None:
    if not isinstance(value, list):
        return None
    names = (_field(each, key) for each in cast("list[Any]", value)[:_MOST_MODELS])
    return frozenset(name for name in names if isinstance(name, str) and 0 < len(name) <= 200)
