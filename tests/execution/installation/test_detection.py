"""What a project's own files propose for its worktrees."""

import json
import subprocess
from pathlib import Path

import pytest

from wvo_mcp.execution.installation.detection import Proposal, proposal

pytestmark = pytest.mark.requirement("WORK-8")

PACKAGE = json.dumps({"scripts": {"test": "vitest", "lint": "eslint .", "start": "node ."}})


@pytest.mark.parametrize(
    ("files", "setup", "verify"),
    [
        ({"package.json": PACKAGE, "package-lock.json": ""}, "npm ci", ("npm run lint", "npm test")),
        ({"package.json": PACKAGE, "pnpm-lock.yaml": ""}, "pnpm install --frozen-lockfile", ("pnpm run lint", "pnpm test")),
        ({"package.json": "{}", "yarn.lock": ""}, "yarn install --frozen-lockfile", ()),
        ({"package.json": '{"scripts": {"test": "echo \\"Error: no test specified\\" && exit 1"}}'}, "npm install", ()),
        (
            {"pyproject.toml": "[tool.ruff]\n[tool.pytest.ini_options]\n", "uv.lock": ""},
            "uv sync",
            ("uv run ruff check .", "uv run pytest"),
        ),
        (
            {"pyproject.toml": "[project.optional-dependencies]\ndev = []\n[tool.mypy]\n"},
            "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]'",
            (".venv/bin/mypy .",),
        ),
        ({"go.mod": "module x\n"}, "go mod download", ("go vet ./...", "go test ./...")),
        ({"Cargo.toml": "", "Cargo.lock": ""}, "cargo fetch --locked", ("cargo test --locked",)),
        ({"Makefile": "CHECK := 1\nsetup:\n\ttrue\ntest: setup\n\ttrue\ninstall:\n\ttrue\n"}, "make setup", ("make test",)),
        ({"Makefile": "check:\n", "go.mod": "module x\n"}, "go mod download", ("make check",)),
        ({"package.json": "[", "pyproject.toml": "[", "Makefile": "\xff"}, None, ()),
        ({}, None, ()),
    ],
)  # fmt: skip
def test_setup_and_checks_are_those_that_the_project_has(
    tmp_path: Path, files: dict[str, str], setup: str | None, verify: tuple[str, ...]
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, "latin-1")

    assert proposal(tmp_path) == Proposal(None, setup, verify)


def _git(root: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


def test_the_target_is_the_main_branch_also_from_a_branch_of_ones_own(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q", "-b", "trunk")
    assert proposal(tmp_path).target == "trunk"
    _git(tmp_path, "commit", "-q", "--allow-empty", "-m", "one")
    _git(tmp_path, "checkout", "-q", "-b", "mine")
    assert proposal(tmp_path).target == "mine"

    _git(tmp_path, "branch", "main", "trunk")

    assert proposal(tmp_path).target == "main"


def test_files_that_git_ignores_and_programs_need_are_included(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text(".env*\n")
    for name in (".env", ".env.local", ".env.example", ".envrc", ".npmrc", ".git/.env"):
        (tmp_path / name).write_text("A=1\n")

    assert proposal(tmp_path).include == (".env", ".env.local", ".envrc")
