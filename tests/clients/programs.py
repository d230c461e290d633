"""The client programs under test: where they are, how each is wired to the server, asked, and read."""

import json
import os
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from tests.clients.models.anthropic import AnthropicModel
from tests.clients.models.gemini import GeminiModel
from tests.clients.models.openai import OpenAIModel
from tests.clients.models.script import ScriptedModel
from tests.clients.processes import Finished, run
from tests.clients.workspace import seeded

REPOSITORY = Path(__file__).resolve().parents[2]
SERVER = Path(sys.executable).parent / "wvo-mcp"

# A client that is not told otherwise must not look for its maker's servers: nobody listens on the discard port.
NOWHERE = "http://127.0.0.1:9"


def programs_folder() -> Path:
    """Where the npm programs are: WVO_TEST_PROGRAMS, else the cache that scripts/test fills."""
    return Path(os.environ.get("WVO_TEST_PROGRAMS") or REPOSITORY / ".cache/clients/node_modules/.bin")


def why_missing(name: str) -> str | None:
    """Why a program cannot be used here, or None when it can."""
    if (programs_folder() / name).exists():
        return None
    reasons = os.environ.get("WVO_TEST_MISSING", "").split("\n")
    told = [reason for reason in reasons if reason.startswith((f"{name}:", "client programs:"))]
    return told[0] if told else f"{name} is not in {programs_folder()}; ./scripts/test installs it"


def clean_environment(home: Path) -> dict[str, str]:
    """An environment made from nothing: no credentials, no proxies, no traces of a client that this runs in."""
    temporary = home / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    folders = [programs_folder(), SERVER.parent, Path("/usr/local/bin"), Path("/usr/bin"), Path("/bin")]
    return {
        "HOME": str(home),
        "PATH": os.pathsep.join(map(str, folders)),
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "NO_COLOR": "1",
        "TZ": "UTC",
        "TMPDIR": str(temporary),
        "CLAUDE_CODE_TMPDIR": str(temporary),
        "NODE_COMPILE_CACHE": str(REPOSITORY / ".cache/compiled"),
    }


class Client(ABC):
    """One client program in a home and a project of its own, wired to the server by `wvo-mcp init`."""

    name: ClassVar[str]
    model: ClassVar[type[ScriptedModel]]
    flags: tuple[str, ...] = ()
    """What a person gives it besides."""

    def __init__(self, place: Path) -> None:
        self.home = place / "home"
        self.project = place / "project"
        self._first_on_path = place / "bin"
        self.without: frozenset[str] = frozenset()
        """Names of environment variables that it does not get."""
        self.besides: Mapping[str, str] = {}
        """Environment variables that it gets besides."""
        self.stop: threading.Event | None = None
        """Stops a run when it is set, as its deadline does."""
        self.home.mkdir(parents=True)
        self.project.mkdir(parents=True)

    @property
    def environment(self) -> dict[str, str]:
        """What every process of this client starts with."""
        clean = clean_environment(self.home)
        full = {**clean, "PATH": f"{self._first_on_path}{os.pathsep}{clean['PATH']}", **self.settings(), **self.besides}
        return {name: value for name, value in full.items() if name not in self.without}

    @classmethod
    def wired(cls, place: Path) -> Self:
        """A client whose project holds two tasks, with what its person agreed to and the entry of `wvo-mcp init`."""
        client = cls(place)
        seeded(client.project)
        client.prepare()
        done = run([SERVER, "init", f"--{cls.name}"], cwd=client.project, env=client.environment)
        assert done.exit_code == 0, done.report()
        return client

    @classmethod
    def impatient(cls, place: Path) -> Self:
        """A client without a server, that retries once at most."""
        client = cls(place)
        client.prepare()
        client.hurry()
        return client

    def delay_server(self, seconds: int) -> None:
        """From now on `wvo-mcp` takes so much longer to start."""
        slow = self._first_on_path / "wvo-mcp"
        _write(slow, f'#!/bin/sh\nsleep {seconds}\nexec "{SERVER}" "$@"\n')
        slow.chmod(0o755)

    def drop_hooks(self) -> None:
        """Takes out what init proposed to run before the client's own tools."""
        file = self.project / ".claude/settings.json"
        if file.exists():
            settings = json.loads(file.read_text(encoding="utf-8"))
            settings.get("hooks", {}).pop("PreToolUse", None)
            _write(file, json.dumps(settings))

    def list_servers(self) -> Finished:
        """`NAME mcp list` in the project."""
        return run([self.name, "mcp", "list"], cwd=self.project, env=self.environment)

    @abstractmethod
    def settings(self) -> Mapping[str, str]:
        """The client's own environment variables."""

    @abstractmethod
    def prepare(self) -> None:
        """Writes the user settings that a person would have made before."""

    @abstractmethod
    def hurry(self) -> None:
        """Lets it retry as little as it can."""

    @abstractmethod
    def ask(self, model: ScriptedModel, prompt: str, *, waits: bool = True, deadline: float = 200.0) -> Finished:
        """One headless run. `waits`: the first turn waits for the server, however slow it is. Raises DeadlinePassed."""


class Claude(Client):
    """Claude Code."""

    name = "claude"
    model = AnthropicModel

    def settings(self) -> Mapping[str, str]:
        return {
            "ANTHROPIC_API_KEY": "dummy",
            "ANTHROPIC_BASE_URL": NOWHERE,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": "3",
            "DISABLE_AUTOUPDATER": "1",
        }

    def prepare(self) -> None:
        # The person has trusted the folder; that the server and its tools may be used is said by what init writes.
        trust = {"projects": {str(self.project): {"hasTrustDialogAccepted": True}}}
        _write(self.home / ".claude.json", json.dumps(trust))

    def hurry(self) -> None:
        limits = {"CLAUDE_CODE_MAX_RETRIES": "1"}
        _write(self.home / ".claude/settings.json", json.dumps({"env": limits}))

    def ask(self, model: ScriptedModel, prompt: str, *, waits: bool = True, deadline: float = 200.0) -> Finished:
        command = ["claude", "-p", prompt, "--output-format", "stream-json", "--verbose", *self.flags]
        if waits:
            command += ["--mcp-config", str(self.project / ".mcp.json"), "--strict-mcp-config"]
        env = {**self.environment, "ANTHROPIC_BASE_URL": model.url}
        return run(command, cwd=self.project, env=env, deadline=deadline, ends=_is_result, stop=self.stop)


class Codex(Client):
    """Codex CLI."""

    name = "codex"
    model = OpenAIModel
    flags = ("--skip-git-repo-check",)

    def settings(self) -> Mapping[str, str]:
        return {"SCRIPTED_KEY": "dummy"}

    def prepare(self) -> None:
        # The person has trusted the folder: else Codex does not read what init writes there.
        config = f"""\
            model = "scripted"
            model_provider = "scripted"
            check_for_update_on_startup = false
            projects."{self.project}".trust_level = "trusted"

            [model_providers.scripted]
            name = "scripted"
            wire_api = "responses"
            env_key = "SCRIPTED_KEY"
            base_url = "{NOWHERE}/v1"
            """
        _write(self.home / ".codex/config.toml", "\n".join(line.strip() for line in config.splitlines()) + "\n")

    def hurry(self) -> None:
        with (self.home / ".codex/config.toml").open("a", encoding="utf-8") as config:
            config.write("request_max_retries = 0\nstream_max_retries = 0\n")

    def ask(self, model: ScriptedModel, prompt: str, *, waits: bool = True, deadline: float = 200.0) -> Finished:
        command = ["codex", "exec", "--json", *self.flags]
        command += ["-c", f'model_providers.scripted.base_url="{model.url}/v1"']
        if waits:
            command += ["-c", "mcp_servers.wvo.required=true"]
        return run([*command, prompt], cwd=self.project, env=self.environment, deadline=deadline, stop=self.stop)


class Gemini(Client):
    """Gemini CLI, which always waits for its servers."""

    name = "gemini"
    model = GeminiModel

    def settings(self) -> Mapping[str, str]:
        return {
            "GEMINI_API_KEY": "dummy",
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
            "GOOGLE_GEMINI_BASE_URL": NOWHERE,
        }

    def prepare(self) -> None:
        settings = {
            "security": {"auth": {"selectedType": "gemini-api-key"}},
            "general": {"enableAutoUpdate": False},
            "privacy": {"usageStatisticsEnabled": False},
        }
        _write(self._settings_file, json.dumps(settings))

    @property
    def _settings_file(self) -> Path:
        return self.home / ".gemini/settings.json"

    def hurry(self) -> None:
        settings = json.loads(self._settings_file.read_text(encoding="utf-8"))
        settings["general"] |= {"maxAttempts": 1, "retryFetchErrors": False}
        _write(self._settings_file, json.dumps(settings))

    def ask(self, model: ScriptedModel, prompt: str, *, waits: bool = True, deadline: float = 200.0) -> Finished:
        command = ["gemini", "-m", "gemini-2.5-flash", "-p", prompt, "--output-format", "stream-json"]
        command += ["--allowed-mcp-server-names", "wvo", *self.flags]
        env = {**self.environment, "GOOGLE_GEMINI_BASE_URL": model.url}
        return run(command, cwd=self.project, env=env, deadline=deadline, stop=self.stop)


def _is_result(line: str) -> bool:
    # The keys come in any order, and a tool result may quote such a line.
    return '"result"' in line and json.loads(line).get("type") == "result"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


CLIENTS: Mapping[str, type[Client]] = {kind.name: kind for kind in (Claude, Codex, Gemini)}
