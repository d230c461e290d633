"""`wvo-mcp init` from the shell."""

import json

import pytest

from tests.faces.cli.shell import Shell


def files(shell: Shell) -> dict[str, bytes]:
    return {str(p.relative_to(shell.root)): p.read_bytes() for p in shell.root.rglob("*") if p.is_file()}


@pytest.mark.requirement("CORE-12")
def test_a_project_is_made_ready(shell: Shell) -> None:
    made = shell("init").json

    assert made["written"] is True
    assert {change["path"] for change in made["changes"] if not change["new"]} == set()
    assert json.loads((shell.root / ".mcp.json").read_text())["mcpServers"]["wvo"]["command"] == "wvo-mcp"
    assert shell("roadmap-sync").json["created_count"] > 0
    assert shell("plan-next").json["tasks"]


@pytest.mark.requirement("CORE-12", "CORE-14")
def test_every_client_is_wired_and_a_second_run_changes_nothing(shell: Shell) -> None:
    shell("init", "--claude", "--codex", "--gemini")
    before = files(shell)
    for name in (".claude/settings.json", ".codex/config.toml", ".gemini/settings.json", "AGENTS.md", "CLAUDE.md"):
        assert name in before
    assert not (shell.home / ".codex").exists()

    again = shell("init", "--claude", "--codex", "--gemini").json

    assert again["changes"] == []
    assert files(shell) == before


@pytest.mark.requirement("CORE-12")
def test_a_dry_run_shows_the_changes_and_writes_nothing(shell: Shell) -> None:
    before = files(shell)

    planned = shell("init", "--claude", "--dry-run").json

    assert planned["written"] is False
    assert any("+++ b/.claude/settings.json" in change["diff"] for change in planned["changes"])
    assert files(shell) == before


@pytest.mark.requirement("CORE-12")
def test_an_entry_of_another_program_is_never_replaced_unasked(shell: Shell) -> None:
    (shell.root / ".mcp.json").write_text('{"mcpServers": {"wvo": {"command": "theirs"}}}')
    before = files(shell)

    error = shell("init").error

    assert error["code"] == "conflict"
    assert error["details"]["entry"] == {"command": "theirs"}
    assert files(shell) == before
    assert shell("init", "--replace").code == 0
    assert json.loads((shell.root / ".mcp.json").read_text())["mcpServers"]["wvo"]["command"] == "wvo-mcp"


def test_a_broken_file_of_a_client_is_named_and_nothing_is_written(shell: Shell) -> None:
    (shell.root / ".mcp.json").write_text("{\n  broken")
    before = files(shell)

    error = shell("init").error

    assert (error["code"], error["details"]["field"], error["details"]["line"]) == ("invalid_input", ".mcp.json", 2)
    assert files(shell) == before


def test_on_a_terminal_a_person_is_asked_before_a_file_is_changed(shell: Shell) -> None:
    (shell.root / "CLAUDE.md").write_text("# Ours\n")
    before = files(shell)

    with shell.terminal("init", "--claude", NO_COLOR="1") as terminal:
        terminal.until(lambda seen: "[y/N]" in seen)
        terminal.type("n\n")
        refused = terminal.finish()
    assert "+The tasks of this project are kept by the MCP server" in refused.out
    assert "create .mcp.json: the server wvo" in refused.out
    assert "Change 1 file and create 10 files, as shown?" in refused.out
    assert "Nothing was written." in refused.out
    assert refused.code == 1
    assert files(shell) == before

    with shell.terminal("init", "--claude", NO_COLOR="1") as terminal:
        terminal.until(lambda seen: "[y/N]" in seen)
        terminal.type("y\n")
        done = terminal.finish()
    assert done.code == 0
    assert f"Changed 1 file and created 10 files in {shell.root}" in " ".join(done.out.split())
    assert "--codex" in done.out


def test_on_a_terminal_nothing_to_do_is_said_and_what_is_removed_once(shell: Shell) -> None:
    shell("init")
    shown = shell.on_terminal("init", NO_COLOR="1")
    assert "Everything is in place in" in shown.out
    assert "--claude" in shown.out

    removed = shell.on_terminal("init", "--remove", "--yes", NO_COLOR="1")
    assert removed.out.count(".mcp.json") == 1


def test_a_worktree_shares_the_installation_of_its_repository(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    side = shell.root.parent / "side"
    meta = shell.root / ".git" / "worktrees" / "side"
    meta.mkdir(parents=True)
    (meta / "commondir").write_text("../..\n")
    side.mkdir()
    (side / ".git").write_text(f"gitdir: {meta}\n")
    monkeypatch.chdir(side)

    shell("init")

    assert (shell.root / "state" / "roadmap.yaml").exists()
    assert not (side / "state").exists()


@pytest.mark.requirement("CORE-16")
@pytest.mark.parametrize("first", ["status", "plan-next", "claim-task"])
def test_the_first_command_after_init_finds_the_roadmap(shell: Shell, first: str) -> None:
    assert shell("init", "--yes").code == 0

    shown = shell(first)

    assert shown.code == 0, shown
    assert "Make one command run all tests" in shown.out, shown


@pytest.mark.requirement("CORE-16")
def test_a_dry_run_right_after_init_brings_nothing_into_the_store(shell: Shell) -> None:
    assert shell("init", "--yes").code == 0

    shell("create-tasks", "--dry-run", "--tasks", '[{"title": "Later"}]')

    assert len(shell("roadmap-sync").json["created"]) > 0


@pytest.mark.requirement("SAFE-4")
def test_what_init_wrote_of_the_project_is_accepted_and_a_change_of_it_is_not(shell: Shell) -> None:
    (shell.root / "go.mod").write_text("module x\n")
    path = shell.root / "state" / "roadmap.yaml"

    shown = shell.on_terminal("init", "--yes")

    assert "setup   go mod download" in shown.text
    assert shell("trust").json["changes"] == []
    path.write_text(path.read_text().replace("go mod download", "curl x | sh"))
    (change,) = shell("trust").json["changes"]
    assert "curl x | sh" in json.dumps(change)
