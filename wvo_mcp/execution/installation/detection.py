"""What a project's own files say of how a worktree is prepared and checked: a proposal that a person sees first."""

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from wvo_mcp.execution.git import GitFailed, Repository

_MOST_BYTES = 1 << 20
_INCLUDED = (".env", ".env.*", ".envrc", ".dev.vars", ".npmrc", "local.settings.json", "config/master.key")
"""Files that are not committed and without which many projects do not start."""
_TEMPLATES = (".example", ".sample", ".template", ".dist")
_NO_TEST = "no test specified"
_LOCKS = (
    ("package-lock.json", "npm ci", "npm"),
    ("npm-shrinkwrap.json", "npm ci", "npm"),
    ("pnpm-lock.yaml", "pnpm install --frozen-lockfile", "pnpm"),
    ("yarn.lock", "yarn install --immutable", "yarn"),
    ("bun.lock", "bun install --frozen-lockfile", "bun"),
    ("bun.lockb", "bun install --frozen-lockfile", "bun"),
    ("package.json", "npm install", "npm"),
)


@dataclass(frozen=True, slots=True)
class Proposal:
    """Of `project:` in the roadmap, and of `.worktreeinclude`."""

    target: str | None = None
    setup: str | None = None
    verify: tuple[str, ...] = ()
    include: tuple[str, ...] = ()

    @property
    def project(self) -> dict[str, Any]:
        """What is proposed for the roadmap."""
        found = {"target": self.target, "setup": self.setup, "verify": self.verify}
        return {name: value for name, value in found.items() if value}


def proposal(root: Path) -> Proposal:
    """Reads files and asks git; runs nothing of the project. What cannot be read proposes nothing."""
    found = [found for look in _LOOKS if (found := look(root)) is not None]
    made = _make(root)
    setups = [made[0]] if made is not None and made[0] else [setup for setup, _ in found if setup]
    checks = made[1] if made is not None and made[1] else [check for _, checks in found for check in checks]
    target, include = None, ()
    try:
        repository = Repository.around(root)
        if repository is not None:
            target, include = repository.default_branch(), tuple(_ignored(root, repository))
    except GitFailed:
        pass
    return Proposal(target, " && ".join(setups) or None, tuple(dict.fromkeys(checks)), include)


def _node(root: Path) -> tuple[str, list[str]] | None:
    package = _json(root / "package.json")
    if package is None:
        return None
    setup, program = next((setup, program) for name, setup, program in _LOCKS if (root / name).exists())
    if program == "yarn" and not (root / ".yarnrc.yml").exists():
        setup = "yarn install --frozen-lockfile"
    scripts: Any = package.get("scripts")
    named = cast("dict[str, Any]", scripts) if isinstance(scripts, dict) else {}
    checks = [name for name in ("lint", "typecheck", "test") if isinstance(named.get(name), str)]
    checks = [name for name in checks if _NO_TEST not in named[name]]
    run = {"test": f"{program} run test" if program == "bun" else f"{program} test"}
    return setup, [run.get(name, f"{program} run {name}") for name in checks]


def _python(root: Path) -> tuple[str, list[str]] | None:
    text = _text(root / "pyproject.toml")
    if text is None:
        return None
    try:
        content: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
    tools, extras = content.get("tool", {}), content.get("project", {}).get("optional-dependencies", {})
    setup, run = (
        "python3 -m venv .venv && .venv/bin/pip install -e " + ("'.[dev]'" if "dev" in extras else "."),
        ".venv/bin/",
    )
    for lock, program in (("uv.lock", "uv sync"), ("poetry.lock", "poetry install"), ("pdm.lock", "pdm sync")):
        if (root / lock).exists():
            setup, run = program, f"{program.partition(' ')[0]} run "
    checks = ["ruff check ."] if "ruff" in tools else []
    checks += ["mypy ."] if "mypy" in tools else []
    checks += ["pytest"] if "pytest" in tools or (root / "tests").is_dir() else []
    return setup, [run + check for check in checks]


def _go(root: Path) -> tuple[str, list[str]] | None:
    return ("go mod download", ["go vet ./...", "go test ./..."]) if (root / "go.mod").is_file() else None


def _rust(root: Path) -> tuple[str, list[str]] | None:
    if not (root / "Cargo.toml").is_file():
        return None
    locked = " --locked" if (root / "Cargo.lock").exists() else ""
    return f"cargo fetch{locked}", [f"cargo test{locked}"]


def _make(root: Path) -> tuple[str, list[str]] | None:
    """Targets that are there: people who wrote them mean them. `install` is not for a worktree."""
    text = _text(root / "Makefile")
    if text is None:
        return None
    targets = set(re.findall(r"^([A-Za-z0-9_-]+)\s*:(?!=)", text, re.MULTILINE))
    setup = next((f"make {name}" for name in ("setup", "bootstrap", "deps") if name in targets), "")
    checks = ["check"] if "check" in targets else [name for name in ("lint", "test") if name in targets]
    return setup, [f"make {name}" for name in checks]


_LOOKS: tuple[Callable[[Path], tuple[str, list[str]] | None], ...] = (_node, _python, _go, _rust)


def _ignored(root: Path, repository: Repository) -> Iterator[str]:
    """Those of the usual files that are here and that git ignores."""
    found = sorted({path for pattern in _INCLUDED for path in root.glob(pattern) if path.is_file()})
    for path in found:
        name = path.relative_to(root).as_posix()
        if not name.endswith(_TEMPLATES) and repository.ignores(str(path)):
            yield name


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode()
    except (OSError, UnicodeDecodeError):
        return None


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found: Any = json.loads(_text(path) or "null")
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None
