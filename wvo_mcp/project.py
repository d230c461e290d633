"""Where the project is, and what its settings file adds to the environment (contract, section 1).

The front answers within milliseconds and a client waits for the stop hook at the end of every turn, so this needs small
parts of the standard library only; YAML is loaded where there is a settings file.
"""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False  # typing itself would cost milliseconds
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

OF_A_PROJECT = (
    "WVO_DATABASE_URL",
    "WVO_TOOLSETS",
    "WVO_EPICS",
    "WVO_AUTOPILOT_AGENTS",
    "WVO_AUTOPILOT_WIP_LIMIT",
    "WVO_AGENT_WIP_LIMIT",
    "WVO_AUTOPILOT_MAX_ITERATIONS",
    "WVO_AUTOPILOT_HEALTH_INTERVAL_MS",
    "WVO_AUTOPILOT_HEALTH_AUTO_REMEDIATE",
    "WVO_AUTOPILOT_STALE_TASK_MINUTES",
    "WVO_LEASE_SECONDS",
    "WVO_LEASE_GRACE_SECONDS",
    "WVO_QUIET_MAX_SECONDS",
    "WVO_SQLITE_SYNCHRONOUS",
    "WVO_ROADMAP_COMMITS",
    "WVO_ALERT_MIN_SEVERITY",
    "WVO_WORKTREES_DIR",
    "WVO_WORKER_TIMEOUT_SECONDS",
    "WVO_WORKER_IDLE_SECONDS",
    "WVO_WORKER_MEMORY_MB",
    "WVO_WORKER_CPU_PERCENT",
    "WVO_WORKER_OUTPUT_MB",
    "WVO_EXECUTION_MODE",
    "WVO_APPROVAL_EXPIRES_SECONDS",
    "OTEL_ENABLED",
)
"""What the settings file may contain."""

_WHY_NOT = {
    "WVO_STATE_DIR": "this file is in that folder",
    **dict.fromkeys(
        ("WVO_AGENT_ID", "WVO_PROVIDER", "WVO_CAPABILITIES"), "it belongs to one agent, and this file to all of them"
    ),
    **dict.fromkeys(
        ("WVO_ALERT_COMMAND", "WVO_ALERT_WEBHOOK_URL", "WVO_ALERT_WEBHOOK_SECRET"),
        "agents can write this file, and it would make the server run or send something",
    ),
    **dict.fromkeys(
        ("WVO_WORKER_MAX_COST_USD", "WVO_AUTOPILOT_MAX_COST_USD"),
        "agents can write this file, and money is for people to give",
    ),
    **dict.fromkeys(
        ("WVO_JWT_ISSUER", "WVO_JWT_AUDIENCE", "WVO_JWT_JWKS_URL"),
        "agents can write this file, and it would say whom the server lets in",
    ),
    "WVO_WORKER_KEY": "it belongs to one worker, and this file to all of them",
}
"""What may not, and why."""

KNOWN = frozenset({*OF_A_PROJECT, *_WHY_NOT})
VARIABLES = {name.removeprefix("WVO_").removeprefix("AUTOPILOT_").lower(): name for name in (*OF_A_PROJECT, *_WHY_NOT)}
"""By their keys in the settings file, which are the names of the fields of `Settings`."""
_REFERENCES_ONLY = frozenset({"WVO_DATABASE_URL"})
"""Agents can write the file, and git keeps it: where our data goes, and a password, are the environment's to say."""

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class WrongSetting(Exception):
    """A setting has a value that is not allowed; the text is one line that names both and what is allowed."""

    exit_code = 2


class Project:
    """The folder whose work is coordinated, and the settings that hold there.

    `given` is the environment, `environ` the same with what the settings file adds to it; `origins` says of each added
    variable where it is, as `FILE:LINE: KEY`; `references` are the variables that the file takes values from, and
    `referring` those that have such a value, which no message repeats: the file may name a secret.
    """

    def __init__(self, environ: Mapping[str, str], cwd: str, *, with_file: bool = True) -> None:
        """Raises WrongSetting for a settings file that cannot be used."""
        self.given = environ
        self.root, self.reason = find_root(environ, cwd)
        self.state_dir = find_state_dir(environ, self.root)
        self.environ = dict(environ)
        self.origins: dict[str, str] = {}
        self.references: set[str] = set()
        self.referring: set[str] = set()
        self.settings_file = os.path.join(self.state_dir, "settings.yaml")
        if with_file and os.path.lexists(self.settings_file):
            self._read(environ)

    def _read(self, environ: Mapping[str, str]) -> None:
        seen: set[str] = set()
        for line, key, value in _entries(self.settings_file):
            where = f"{self.settings_file}:{line}: {key}"
            name = _variable(key, where)
            if name in seen:
                raise WrongSetting(f"{where}: {name} is set twice in this file; remove one")
            seen.add(name)
            reference = _REFERENCE.fullmatch(value)
            if reference is not None:
                self.references.add(reference[1])
            elif name in _REFERENCES_ONLY or "${" in value:
                # The value is not repeated: it may hold a password.
                raise WrongSetting(
                    f"{where}: allowed is ${{NAME}} alone, which is the value of NAME in the environment"
                )
            if environ.get(name):
                continue
            if reference is not None:
                value = environ.get(reference[1], "")
                if not value:
                    raise WrongSetting(f"{where}: {reference[1]} is not set in the environment; set it, or {name}")
                self.referring.add(name)
            if value:
                self.environ[name] = value
                self.origins[name] = where

    def warnings(self) -> list[str]:
        """One line for each variable that begins with WVO_ and means nothing here."""
        known = KNOWN | self.references
        return [
            f"{name} is not a setting.{not_known(name, KNOWN)}"
            for name in sorted(self.environ)
            if name.startswith("WVO_") and not name.startswith("WVO_TEST_") and name not in known
        ]


def find_root(environ: Mapping[str, str], cwd: str) -> tuple[str, str]:
    """The project's folder and why it was chosen.

    `ROOT`; else the main worktree of the git repository around CLAUDE_PROJECT_DIR or the current directory; else the
    nearest folder upward that has `state/state.db`; else that directory itself.
    """
    if environ.get("ROOT"):
        return _absolute(environ["ROOT"], cwd), "ROOT"
    given = environ.get("CLAUDE_PROJECT_DIR")
    start = _absolute(given or cwd, cwd)
    folders = [start]
    while (above := os.path.dirname(folders[-1])) != folders[-1]:
        folders.append(above)
    for folder in folders:
        main = _main_worktree(folder)
        if main is not None:
            return main, f"the git repository around {start}"
    for folder in folders:
        if os.path.isfile(os.path.join(folder, "state", "state.db")):
            return folder, "the nearest folder with state/state.db"
    return start, "CLAUDE_PROJECT_DIR" if given else "the current directory"


def find_state_dir(environ: Mapping[str, str], root: str) -> str:
    """Where the database, the roadmap and the settings file are."""
    return os.path.join(root, os.path.expanduser(environ.get("WVO_STATE_DIR") or "state"))


def chosen_toolsets(given: str, known: Iterable[str], *, referring: bool) -> frozenset[str]:
    """The toolsets of a comma list, of those known; `core` when it is empty. Raises WrongSetting, which does not repeat
    a value that the settings file refers to."""
    chosen = frozenset(name.strip() for name in given.split(",")) - {""} or frozenset({"core"})
    if wrong := sorted(chosen.difference(known, ["all"])):
        found = f"WVO_TOOLSETS={','.join(sorted(chosen))!r}: {wrong[0]!r} is not a toolset.{not_known(wrong[0], known)}"
        if referring:
            found = "WVO_TOOLSETS: the value that it refers to is not a list of toolsets."
        raise WrongSetting(f"{found} Allowed: all, or a comma list of {', '.join(sorted(known))}")
    return frozenset(known) if "all" in chosen else chosen


def installed_version() -> str:
    """Of this program; `0` in a source tree that was never installed."""
    from importlib.metadata import PackageNotFoundError, version  # twenty milliseconds that few need

    try:
        return version("wvo-mcp")
    except PackageNotFoundError:
        return "0"


def not_known(name: str, among: Iterable[str]) -> str:
    """` Did you mean X?`, or nothing when nothing looks like `name`."""
    from difflib import get_close_matches  # only mistakes pay for it

    meant = get_close_matches(name, sorted(among), 1)
    return f" Did you mean {meant[0]}?" if meant else ""


def _absolute(path: str, cwd: str) -> str:
    return os.path.join(cwd, os.path.expanduser(path))


def _main_worktree(folder: str) -> str | None:
    """The main worktree when `folder` is the top of one of a repository's worktrees. Reads two small files, runs no git."""
    mark = os.path.join(folder, ".git")
    if os.path.isdir(mark):
        return folder if os.path.isfile(os.path.join(mark, "HEAD")) else None
    text = _text(mark)
    if text is None or not text.startswith("gitdir:"):
        return None
    git_dir = os.path.realpath(os.path.join(folder, text.removeprefix("gitdir:").strip()))
    common = _text(os.path.join(git_dir, "commondir"))
    if common is None:
        return folder  # a submodule is a repository of its own
    shared = os.path.realpath(os.path.join(git_dir, common))
    # A bare repository has no main worktree: its worktrees meet in the repository's own folder.
    return os.path.dirname(shared) if os.path.basename(shared) == ".git" else shared


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return None


def _variable(key: str, where: str) -> str:
    """The variable that a key of the file sets: the name in lower case without WVO_ and AUTOPILOT_."""
    upper = key.upper()
    for name in (upper, f"WVO_{upper}", f"WVO_AUTOPILOT_{upper}"):
        if key == key.lower() and name in OF_A_PROJECT:
            return name
        if name in _WHY_NOT:
            raise WrongSetting(f"{where}: {_WHY_NOT[name]}; set {name} where servers and commands are started")
    keys = {key: name for key, name in VARIABLES.items() if name in OF_A_PROJECT}
    raise WrongSetting(f"{where}: it is not a setting.{not_known(key.lower(), keys)} Known are {', '.join(keys)}")


def _entries(path: str) -> Iterator[tuple[int, str, str]]:
    """(line, key, value) of what is in the file; a list is joined by commas. Raises WrongSetting."""
    node = _composed(path)
    if node is None:
        return
    if node.id != "mapping":
        raise WrongSetting(f"{path}:{node.start_mark.line + 1}: expected lines of 'key: value'")
    for key, value in node.value:
        line = key.start_mark.line + 1
        if value.id == "scalar":
            yield line, str(key.value), "" if value.tag.endswith(":null") else str(value.value)
        elif value.id == "sequence" and all(item.id == "scalar" for item in value.value):
            yield line, str(key.value), ",".join(str(item.value) for item in value.value)
        else:
            raise WrongSetting(f"{path}:{line}: {key.value}: expected one value, or a list of values")


def _composed(path: str) -> Any:
    """The file's tree of nodes; None when it is empty. Raises WrongSetting."""
    import yaml  # ten milliseconds that only a project with such a file pays

    if not os.path.isfile(path):
        raise WrongSetting(f"{path}: it is not a file")
    try:
        with open(path, "rb") as file:
            return yaml.compose(file, Loader=yaml.SafeLoader)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    except OSError as error:
        raise WrongSetting(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0] or "nested too deeply"
        raise WrongSetting(f"{path}:{1 if mark is None else mark.line + 1}: it is not YAML: {problem}") from None
