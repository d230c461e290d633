"""A worker's own home: where its program keeps its configuration and sessions, and what stands for its HOME.

Below `state/workers`, for its owner alone:

    tasks/TASK/PROVIDER/       configuration and sessions; any slot finds the session of a task again
    tasks/TASK/PROVIDER/user/  HOME
    cache/SLOT/                what package managers keep; one worker uses it at a time
    logins/PROVIDER-N/         a codex home that a person has logged in once for workers

HOME is not the person's: programs write below it unasked (`~/.claude.json`, `~/.npm`, `~/.cache`, histories), and read
from it what is the person's alone (`~/.netrc`, `~/.ssh`, git's credential helpers, hooks and aliases). git gets the
person's name and address in a file of its own, which is all that it needs to work.
"""

import os
import shutil
import sys
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote, unquote

import anyio.to_thread

from wvo_mcp.domain.finding import Finding
from wvo_mcp.domain.known_secrets import forget_secret, register_environment, register_secret
from wvo_mcp.domain.providers.catalogue import Provider, ProviderKind
from wvo_mcp.execution.agents import environment, needs
from wvo_mcp.ports.agents import ServerEntry
from wvo_mcp.ports.homes import Home, HomeAsk, HomeFailed
from wvo_mcp.processes import NotStarted, Program, run, run_blocking
from wvo_mcp.project import OF_A_PROJECT
from wvo_mcp.settings import Settings

TOOLSETS = "core,agents,approvals,execution,workspaces"
"""Of a worker's connection."""
_KEY_SECONDS = 5.0
_KEYS = 64
"""So many keys of the last launches are known as secrets."""
_TELEMETRY = ("OTEL_ENABLED", "OTEL_SDK_DISABLED")
"""Not where it is sent, which may hold a secret: a worker's own server writes files."""


class WorkerHomes:
    """Implements `ports.homes.Homes` for one autopilot."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environ
        self._folder = settings.state_dir / "workers"
        self._keys: deque[str] = deque()
        self._taken: set[Path] = set()
        """Homes with a login of their own, which one worker uses at a time: our server's entry in them is of one worker."""

    @asynccontextmanager
    async def open(self, ask: HomeAsk) -> AsyncGenerator[Home]:
        provider, environ = ask.provider, self._environ
        key = await self._key(provider)
        login = environment.login(provider.kind, environ, key, provider.key_env)
        path, home = self._home_of(ask), None
        if login is None and provider.kind is ProviderKind.CODEX:
            home = self._logged_in(ask, path)
        if login is None and home is None and not _needs_none(provider):
            made = environment.LOGINS[provider.kind]
            raise HomeFailed(f"there is no login for workers of {provider.name}", f"{made.how}.")
        if ask.key is not None:
            self._know(ask.key)  # neither this nor a login stands in a log
        register_environment(login or {})
        login = {**(login or {}), **environment.settings(provider.kind, environ, provider.base_url)}
        user = path / "user"
        cache = path / "cache" if ask.slot is None else self._folder / "cache" / str(ask.slot)
        try:
            await anyio.to_thread.run_sync(self._prepare, path, user, cache)
        except OSError as error:
            raise HomeFailed(
                f"the home of a worker cannot be made: {error.strerror}: {error.filename}",
                "Make room, or see its rights.",
            ) from error
        config = home or path
        same = home is None or self._was_here(path, home)
        if home is not None:
            self._taken.add(home)
            (path / "home").write_text(str(home), "utf-8")
        try:
            yield Home(
                path=config,
                env={**environment.plain(self._environ, ask.keep), **self._folders(user, cache), **login},
                server=None if ask.key is None else self._entry(ask.key),
                session=ask.session if same else None,
            )
        finally:
            if home is not None:
                self._taken.discard(home)

    def _know(self, key: str) -> None:
        """What was said last may be written after the worker has ended; but all texts are searched for each that is known."""
        register_secret(key)
        self._keys.append(key)
        if len(self._keys) > _KEYS:
            forget_secret(self._keys.popleft())

    def busy(self, provider: Provider) -> str | None:
        if provider.kind is not ProviderKind.CODEX or not self._taken:
            return None
        if provider.key_command or environment.login(provider.kind, self._environ) is not None:
            return None
        homes = needs.logged_in(self._folder / "logins", provider.name)
        named = provider.key_env is not None and bool(self._environ.get(provider.key_env, "").strip())
        return _all_in_use(provider, homes) if homes and not named and self._taken.issuperset(homes) else None

    async def kept(self) -> list[str]:
        return [unquote(path.name) for path in await anyio.to_thread.run_sync(list, (self._folder / "tasks").glob("*"))]

    async def forget(self, task_id: str) -> None:
        folder = self._folder / "tasks" / _name(task_id)
        await anyio.to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))

    async def missing(self, providers: Sequence[Provider]) -> dict[str, Finding]:
        return await needs.missing(providers, self._environ, self._folder / "logins")

    def _home_of(self, ask: HomeAsk) -> Path:
        return self._folder / "tasks" / _name(ask.task_id) / _name(ask.provider.name)

    def _logged_in(self, ask: HomeAsk, path: Path) -> Path | None:
        """The home in which the task's session is, if it is free; else any free one."""
        homes = needs.logged_in(self._folder / "logins", ask.provider.name)
        free = [home for home in homes if home not in self._taken]
        before = next((home for home in free if self._was_here(path, home)), None)
        if homes and not free:
            more = needs.how_to_log_in(self._folder / "logins", ask.provider.name, len(homes) + 1)
            raise HomeFailed(_all_in_use(ask.provider, homes), more, busy=True)
        return before or next(iter(free), None)

    @staticmethod
    def _was_here(path: Path, home: Path) -> bool:
        try:
            return (path / "home").read_text("utf-8") == str(home)
        except OSError:
            return False

    async def _key(self, provider: Provider) -> str | None:
        key = self._environ.get(provider.key_env, "").strip() if provider.key_env else ""
        if provider.key_command:
            program = Program(argv=provider.key_command, env=self._environ, deadline=_KEY_SECONDS, leaves_children=True)
            try:
                ended = await run(program, keep=20_000)
            except NotStarted as error:
                raise HomeFailed(f"key_command of {provider.name} cannot be started: {error}", "Correct it.") from error
            key = ended.stdout.decode(errors="replace").strip()
            if ended.code != 0 or ended.limit is not None or not key:
                how = (
                    f"took longer than {_KEY_SECONDS:g} s" if ended.limit else f"ended with {ended.code}, without a key"
                )
                raise HomeFailed(f"key_command of {provider.name} {how}", "Run it yourself to see why.")
        register_secret(key)
        return key or None

    def _prepare(self, path: Path, user: Path, cache: Path) -> None:
        for folder in (self._folder, path, user, cache):
            _own_folder(folder, self._settings.state_dir)
        config = user / ".gitconfig"
        config.unlink(missing_ok=True)
        config.write_text(self._git_identity(), "utf-8")

    def _git_identity(self) -> str:
        lines = ["[user]"]
        for name in ("name", "email"):
            asked = Program(
                argv=("git", "config", "--get", f"user.{name}"), env=self._environ, deadline=5, cwd=self._settings.root
            )
            try:
                value = run_blocking(asked).stdout.decode(errors="replace").strip()
            except NotStarted:
                value = ""
            if value:
                escaped = value.replace("\\", "\\\\").replace('"', '\\"')
                lines.append(f'\t{name} = "{escaped}"')
        return "\n".join([*lines, "[commit]", "\tgpgSign = false", ""])

    def _folders(self, user: Path, cache: Path) -> dict[str, str]:
        """HOME and what depends on it; toolchains that are found by the person's HOME are named."""
        return environment.toolchains(self._environ) | {
            "HOME": str(user),
            "XDG_CACHE_HOME": str(cache),
            "npm_config_cache": str(cache / "npm"),
            "NODE_COMPILE_CACHE": str(cache / "node"),
            "PAGER": "cat",
            "GIT_PAGER": "cat",
            "GIT_TERMINAL_PROMPT": "0",
            "TERM": "dumb",
        }

    def _entry(self, key: str) -> ServerEntry:
        return ServerEntry(argv=server_command(), env=self._server_environment(key))

    def _server_environment(self, key: str) -> dict[str, str]:
        settings = self._settings
        given = {name: self._environ[name] for name in (*OF_A_PROJECT, *_TELEMETRY) if self._environ.get(name)}
        given |= {"ROOT": str(settings.root), "WVO_STATE_DIR": str(settings.state_dir), "WVO_WORKER_KEY": key}
        if modules := self._environ.get("PYTHONPATH"):
            # Relative, it would lead into the folder in which the server is started: an agent writes there.
            given["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, modules.split(os.pathsep)))
        if settings.database_url is not None:
            given["WVO_DATABASE_URL"] = settings.database_url
        return given | {"WVO_TOOLSETS": TOOLSETS}


def _all_in_use(provider: Provider, homes: Sequence[Path]) -> str:
    return f"all {len(homes)} homes that are logged in for workers of {provider.name} are in use"


def server_command() -> tuple[str, ...]:
    """This very program, and not one of that name in the folder where it is started: an agent writes there."""
    return (sys.executable, "-P", "-m", "wvo_mcp")


def _needs_none(provider: Provider) -> bool:
    """A server of one's own that was given no key wants none."""
    is_server = provider.kind in (ProviderKind.OLLAMA, ProviderKind.OPENAI)
    return is_server and provider.key_env is None and not provider.key_command


def _name(text: str) -> str:
    return quote(text, safe="").replace(".", "%2E")


def _own_folder(folder: Path, top: Path) -> None:
    """Made for its owner alone, with those above it up to `top`; a link in its place is no folder. Raises OSError."""
    for each in (*reversed([up for up in folder.parents if up.is_relative_to(top) and up != top]), folder):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
        if each.is_symlink():
            raise NotADirectoryError(20, os.strerror(20), str(each))
    folder.chmod(0o700)
