"""What a worker of a provider would miss on this machine, before one is launched (WORK-5)."""

import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio

from wvo_mcp.domain.finding import Finding, fail
from wvo_mcp.domain.providers.catalogue import Provider, ProviderKind
from wvo_mcp.execution.agents import environment
from wvo_mcp.processes import NotStarted, Program, run

_SECONDS = 10.0
_LEAST: Mapping[ProviderKind, tuple[int, ...]] = {
    ProviderKind.CLAUDE: (2, 1, 221),
    ProviderKind.CODEX: (0, 169),
    ProviderKind.GEMINI: (0, 61),
}
_NODE: Mapping[ProviderKind, tuple[int, ...]] = {ProviderKind.GEMINI: (20,)}
"""Of those that are scripts of Node; the others are binaries."""
_PACKAGES = {
    ProviderKind.CLAUDE: "@anthropic-ai/claude-code",
    ProviderKind.CODEX: "@openai/codex",
    ProviderKind.GEMINI: "@google/gemini-cli",
}
_VERSION = re.compile(r"(?<![\w.])v?(\d{1,6}(?:\.\d{1,6}){1,3})")


async def missing(providers: Sequence[Provider], environ: Mapping[str, str], logins: Path) -> dict[str, Finding]:
    """By provider, the first thing that keeps a worker of it from being launched. Asks all programs at once for their
    versions; runs no key command, and asks no server."""
    found: dict[str, Finding] = {}

    async def one(provider: Provider) -> None:
        finding = await _program(provider, environ) or _login(provider, environ, logins)
        if finding is not None:
            found[provider.name] = finding

    async with anyio.create_task_group() as tasks:
        for provider in providers:
            if provider.enabled:
                tasks.start_soon(one, provider)
    return {provider.name: found[provider.name] for provider in providers if provider.name in found}


async def _program(provider: Provider, environ: Mapping[str, str]) -> Finding | None:
    if not provider.command or provider.kind not in _LEAST:
        return None
    name, install = provider.command[0], f"npm install -g {_PACKAGES[provider.kind]}@latest"
    if shutil.which(name, path=environ.get("PATH")) is None:
        return fail(provider.name, f"{name} is not on PATH", f"Install it: {install}")
    node = _NODE.get(provider.kind)
    if node is not None and (version := await _version(("node", "--version"), environ)) is not None and version < node:
        found = f"{name} needs Node {_shown(node)} or newer, and there is {_shown(version)}"
        return fail(provider.name, found, f"Install Node {_shown(node)} or newer")
    package, least = _PACKAGES[provider.kind], _LEAST[provider.kind]
    version = await _version((*provider.command, "--version"), environ, package)
    if version is None:
        return fail(provider.name, f"{name} --version says nothing", f"Run it yourself, or install it again: {install}")
    if version < least:
        found = f"{name} is {_shown(version)}, and workers need {_shown(least)} or newer"
        return fail(provider.name, found, f"Update it: {install}")
    return None


def _login(provider: Provider, environ: Mapping[str, str], logins: Path) -> Finding | None:
    made = environment.LOGINS[provider.kind]
    has_key = bool(provider.key_env and environ.get(provider.key_env, "").strip())
    if provider.key_command or has_key or environment.login(provider.kind, environ) is not None:
        return None
    if provider.kind in (ProviderKind.OLLAMA, ProviderKind.OPENAI):
        if provider.key_env is None:
            return None
        return fail(provider.name, f"{provider.key_env} is not set", f"Set {provider.key_env}.")
    remedy = made.how
    if provider.kind is ProviderKind.CODEX:
        if logged_in(logins, provider.name):
            return None
        remedy = f"{remedy}; or {how_to_log_in(logins, provider.name, 1)}"
    return fail(
        provider.name, "there is no login for workers (your own is not used: that would log you out)", f"{remedy}."
    )


def logged_in(logins: Path, provider: str) -> list[Path]:
    """Homes that a person has logged in for workers."""
    try:
        return sorted(path for path in logins.glob(f"{provider}-*") if (path / "auth.json").is_file())
    except OSError:
        return []


def how_to_log_in(logins: Path, provider: str, number: int) -> str:
    home = logins / f"{provider}-{number}"
    return f"log one home in for each worker: mkdir -p -m 700 {home} && CODEX_HOME={home} codex login"


async def _version(command: Sequence[str], environ: Mapping[str, str], package: str = "") -> tuple[int, ...] | None:
    """As its package says, where it is one of npm: some programs take seconds to say it."""
    path = shutil.which(command[0], path=environ.get("PATH"))
    if path is None:
        return None
    said = _packaged(Path(path), package) or b""
    if not said:
        # It may write to its home when it is asked: never to the person's.
        with tempfile.TemporaryDirectory(prefix="wvo-") as home:
            env = {**environment.plain(environ), **environment.toolchains(environ), "HOME": home}
            try:
                ended = await run(Program(argv=(path, *command[1:]), env=env, deadline=_SECONDS), keep=4_000)
            except NotStarted:
                return None
        said = ended.stdout if ended.code == 0 else b""
    shown = _VERSION.search(said.decode(errors="replace"))
    return None if shown is None else tuple(int(part) for part in shown[1].split("."))


def _packaged(path: Path, package: str) -> bytes | None:
    for folder in [*path.resolve().parents][:3]:
        try:
            found = json.loads((folder / "package.json").read_bytes())
            if found["name"] == package:
                return str(found["version"]).encode()
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def _shown(version: Sequence[int]) -> str:
    return ".".join(map(str, version))
