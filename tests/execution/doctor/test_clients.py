"""Which clients are wired, and how well."""

import json
from pathlib import Path

import pytest

from wvo_mcp.domain.finding import Finding, Outcome
from wvo_mcp.execution.doctor import clients
from wvo_mcp.execution.installation.plan import Places, Wishes, plan
from wvo_mcp.project import Project


class Home:
    """A project and a user's home; `wvo-mcp` and other programs can be put on the PATH."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path / "project"
        self.home = tmp_path / "home"
        self.bin = tmp_path / "bin"
        for folder in (self.root, self.home, self.bin):
            folder.mkdir()

    def program(self, name: str) -> None:
        (self.bin / name).write_text("#!/bin/sh\n")
        (self.bin / name).chmod(0o755)

    def found(self, **settings: str) -> dict[str, Finding]:
        environ = {"HOME": str(self.home), "PATH": str(self.bin)}
        project = Project({**environ, **settings}, str(self.root))
        return {finding.check: finding for finding in clients(project)}

    def install(self, wishes: Wishes) -> None:
        plan(Places(self.root, self.root / "state", self.home / ".codex"), wishes).apply()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_a_bare_project_says_how_each_client_is_wired(home: Home) -> None:
    found = home.found()

    assert found["command"].outcome is Outcome.WARN
    for name in ("claude", "codex", "gemini"):
        assert f"wvo-mcp init --{name}" in found[f"client {name}"].found
        assert found[f"client {name}"].outcome is Outcome.OK


@pytest.mark.requirement("CORE-12")
def test_what_init_writes_is_found_wired(home: Home) -> None:
    home.program("wvo-mcp")
    home.install(Wishes(claude=True, codex=True, gemini=True))

    found = home.found()

    assert {finding.outcome for finding in found.values()} == {Outcome.OK}
    assert all(found[f"client {name}"].found.startswith("wired") for name in ("claude", "codex", "gemini"))
    assert "allow rule and stop hook" in found["claude settings"].found


def test_a_command_that_is_not_installed_fails(home: Home) -> None:
    home.install(Wishes())
    assert home.found()["client claude"].outcome is Outcome.FAIL


@pytest.mark.requirement("CORE-12")
def test_what_is_missing_for_pulling_by_itself_is_reported(home: Home) -> None:
    home.program("wvo-mcp")
    home.install(Wishes())

    finding = home.found()["claude settings"]
    assert finding.outcome is Outcome.OK  # nobody asked for it
    assert "wvo-mcp init --claude" in finding.found

    home.install(Wishes(claude=True))
    settings = home.root / ".claude/settings.json"
    settings.write_text(settings.read_text().replace("stop-hook", "other"))
    finding = home.found()["claude settings"]
    assert finding.outcome is Outcome.WARN
    assert "the stop hook" in finding.found


@pytest.mark.requirement("CORE-12")
def test_a_folder_that_a_client_does_not_trust_is_a_warning_where_the_client_is(home: Home) -> None:
    home.program("wvo-mcp")
    home.install(Wishes(claude=True, codex=True))
    assert not [check for check in home.found() if check.startswith("trust")]

    home.program("claude")
    home.program("codex")
    assert {"trust of claude", "trust of codex"} <= set(home.found())


def test_an_entry_with_another_store_is_a_warning(home: Home) -> None:
    home.program("wvo-mcp")
    entry = {"command": "wvo-mcp", "env": {"WVO_STATE_DIR": "elsewhere"}}
    (home.root / ".mcp.json").write_text(json.dumps({"mcpServers": {"wvo": entry}}))

    assert home.found()["store of claude"].outcome is Outcome.WARN
    assert "store of claude" not in home.found(WVO_STATE_DIR="elsewhere")


def test_an_entry_of_another_program_is_a_warning(home: Home) -> None:
    (home.root / ".mcp.json").write_text('{"mcpServers": {"wvo": {"command": "theirs"}}}')
    assert "something else" in home.found()["client claude"].found


def test_a_slow_way_to_start_is_a_warning(home: Home) -> None:
    home.program("uvx")
    (home.root / ".mcp.json").write_text('{"mcpServers": {"wvo": {"command": "uvx", "args": ["wvo-mcp"]}}}')
    assert home.found()["client claude"].outcome is Outcome.WARN


@pytest.mark.parametrize(
    ("name", "client"),
    [(".mcp.json", "claude"), (".gemini/settings.json", "gemini"), (".codex/config.toml", "codex")],
)
@pytest.mark.parametrize("content", [b"{ broken", b"\xff\xfe", b"[["])
def test_a_broken_file_of_a_client_fails_and_is_named(home: Home, name: str, client: str, content: bytes) -> None:
    (home.root / name).parent.mkdir(exist_ok=True)
    (home.root / name).write_bytes(content)

    finding = home.found()[f"client {client}"]

    assert finding.outcome is Outcome.FAIL
    assert name in finding.found


def test_entries_that_the_client_keeps_for_itself_count(home: Home) -> None:
    home.program("wvo-mcp")
    local = {"projects": {str(home.root): {"mcpServers": {"wvo": {"command": "wvo-mcp"}}}}}
    (home.home / ".claude.json").write_text(json.dumps(local))
    (home.home / ".gemini").mkdir()
    (home.home / ".gemini/settings.json").write_text('{"mcpServers": {"wvo": {"command": "wvo-mcp"}}}')

    found = home.found()

    assert ".claude.json" in found["client claude"].found
    assert found["client gemini"].found.startswith("wired")


@pytest.mark.parametrize("content", ["[]", "{", '{"projects": 5, "mcpServers": []}'])
def test_the_clients_own_files_may_hold_anything(home: Home, content: str) -> None:
    (home.home / ".claude.json").write_text(content)
    assert home.found()["client claude"].outcome is Outcome.OK


def test_settings_of_wrong_shape_are_explained(home: Home) -> None:
    home.program("wvo-mcp")
    home.install(Wishes())
    (home.root / ".claude").mkdir()
    (home.root / ".claude/settings.json").write_text('{"permissions": {"allow": 5}}')

    assert "without allow rule" in home.found()["claude settings"].found
