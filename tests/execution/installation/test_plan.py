"""What init plans and writes."""

import io
import json
import os
import tomllib
from pathlib import Path
from typing import IO, Any

import pytest

from wvo_mcp.errors import Conflict, Forbidden, InvalidInput, StoreUnavailable
from wvo_mcp.execution.installation.changes import MAX_BYTES, Plan
from wvo_mcp.execution.installation.plan import Places, Wishes, codex_home, plan

EVERYTHING = Wishes(claude=True, codex=True, gemini=True)
USER_WIDE = Wishes(claude=True, codex=True, gemini=True, user_wide=True)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    root = tmp_path / "project"
    (root / ".git").mkdir(parents=True)
    return Places(root, root / "state", tmp_path / "home" / ".codex")


def install(places: Places, wishes: Wishes = EVERYTHING) -> Plan:
    planned = plan(places, wishes)
    planned.apply()
    return planned


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_bare_project_gets_the_server_a_roadmap_and_directives(places: Places) -> None:
    install(places, Wishes())

    assert read_json(places.root / ".mcp.json") == {"mcpServers": {"wvo": {"command": "wvo-mcp", "args": []}}}
    assert "epics:" in (places.state_dir / "roadmap.yaml").read_text()
    assert list((places.root / "directives").glob("*.md"))
    assert "/state/state.db*\n" in (places.root / ".gitignore").read_text()
    assert not (places.root / "CLAUDE.md").exists()


def test_each_client_is_wired_when_it_is_wished_for(places: Places) -> None:
    install(places)

    claude = read_json(places.root / ".claude/settings.json")
    assert claude["permissions"] == {"allow": ["mcp__wvo"]}
    assert claude["enabledMcpjsonServers"] == ["wvo"]
    assert claude["hooks"]["Stop"][0]["hooks"][0]["command"] == "wvo-mcp stop-hook"
    assert read_json(places.root / ".gemini/settings.json")["mcpServers"]["wvo"]["trust"] is True
    install(places, USER_WIDE)
    for config in (places.codex_home / "config.toml", places.root / ".codex/config.toml"):
        assert tomllib.loads(config.read_text()) == {"mcp_servers": {"wvo": {"command": "wvo-mcp"}}}
    for name in ("CLAUDE.md", "AGENTS.md", "GEMINI.md"):
        assert "claim_task" in (places.root / name).read_text()


def test_the_second_time_changes_nothing(places: Places) -> None:
    install(places)
    before = tree(places.root.parent)

    assert plan(places, EVERYTHING).changes == []
    install(places)
    assert tree(places.root.parent) == before


def test_what_people_wrote_stays_and_planning_writes_nothing(places: Places) -> None:
    theirs = {
        ".mcp.json": '{"mcpServers": {"x": {"command": "y"}}, "other": 1}',
        ".claude/settings.json": '{"permissions": {"allow": ["Bash(ls)"]}, "hooks": {"Stop": [{"hooks": []}]}}',
        "CLAUDE.md": "# Ours\r\nkeep\r\n",
        ".gitignore": "node_modules\n",
        "state/roadmap.yaml": "epics: []\n",
    }
    for name, text in theirs.items():
        (places.root / name).parent.mkdir(exist_ok=True)
        (places.root / name).write_bytes(text.encode())
    before = tree(places.root.parent)

    planned = plan(places, EVERYTHING)
    assert tree(places.root.parent) == before
    planned.apply()

    mcp = read_json(places.root / ".mcp.json")
    assert mcp["other"] == 1
    assert set(mcp["mcpServers"]) == {"x", "wvo"}
    settings = read_json(places.root / ".claude/settings.json")
    assert settings["permissions"]["allow"] == ["Bash(ls)", "mcp__wvo"]
    assert len(settings["hooks"]["Stop"]) == 2
    claude_md = (places.root / "CLAUDE.md").read_bytes()
    assert claude_md.startswith(b"# Ours\r\nkeep\r\n\r\n<!-- wvo-mcp:start -->\r\n")
    assert b"\n" not in claude_md.replace(b"\r\n", b"")
    assert (places.root / ".gitignore").read_text().startswith("node_modules\n\n# wvo-mcp:start\n")
    assert (places.state_dir / "roadmap.yaml").read_text() == "epics: []\n"


@pytest.mark.parametrize(
    "entry",
    [
        {"command": "wvo-mcp", "env": {"WVO_TOOLSETS": "all"}},
        {"command": "/opt/bin/wvo-mcp"},
        {"command": "uvx", "args": ["wvo-mcp"]},
        {"command": "python", "args": ["-m", "wvo_mcp"]},
    ],
)
def test_an_entry_of_ours_with_settings_of_its_own_is_left_alone(places: Places, entry: dict[str, Any]) -> None:
    text = json.dumps({"mcpServers": {"wvo": entry}})
    (places.root / ".mcp.json").write_text(text)

    install(places, Wishes(replace=True))

    assert (places.root / ".mcp.json").read_text() == text


def test_an_entry_of_another_program_stops_everything_until_it_may_be_replaced(places: Places) -> None:
    (places.root / ".mcp.json").write_text('{"mcpServers": {"wvo": {"command": "theirs"}}}')
    (places.codex_home).mkdir(parents=True)
    (places.codex_home / "config.toml").write_text('[mcp_servers.wvo]\ncommand = "theirs"\n')

    with pytest.raises(Conflict) as refused:
        plan(places, USER_WIDE)
    assert refused.value.details["entry"] == {"command": "theirs"}
    assert "--replace" not in refused.value.hint

    install(places, Wishes(codex=True, user_wide=True, replace=True))
    assert read_json(places.root / ".mcp.json")["mcpServers"]["wvo"]["command"] == "wvo-mcp"
    assert tomllib.loads((places.codex_home / "config.toml").read_text())["mcp_servers"]["wvo"]["command"] == "wvo-mcp"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (".mcp.json", b"{"),
        (".mcp.json", b'{"mcpServers": []}'),
        (".mcp.json", b"\xff\xfe"),
        (".claude/settings.json", b'{"permissions": {"allow": "all"}}'),
        (".codex/config.toml", b"model ="),
        ("AGENTS.md", b"<!-- wvo-mcp:start -->\n"),
        ("GEMINI.md", b"x" * (MAX_BYTES + 1)),
    ],
)
def test_a_file_that_cannot_be_edited_safely_is_named_and_nothing_is_written(
    places: Places, name: str, content: bytes
) -> None:
    (places.root / name).parent.mkdir(exist_ok=True)
    (places.root / name).write_bytes(content)
    before = tree(places.root.parent)

    with pytest.raises(InvalidInput) as refused:
        install(places)

    assert refused.value.details["field"] == name
    assert tree(places.root.parent) == before


def test_links_are_followed_inside_the_project_and_refused_where_they_leave_it(places: Places) -> None:
    (places.root / "AGENTS.md").write_text("# Shared\n")
    (places.root / "CLAUDE.md").symlink_to("AGENTS.md")
    install(places)
    assert (places.root / "CLAUDE.md").is_symlink()
    assert (places.root / "AGENTS.md").read_text().count("wvo-mcp:start") == 1

    outside = places.root.parent / "outside"
    outside.mkdir()
    (places.root / ".mcp.json").unlink()
    (places.root / ".mcp.json").symlink_to(outside / "planted.json")
    with pytest.raises(Forbidden):
        plan(places, Wishes())
    assert list(outside.iterdir()) == []


def test_a_folder_that_is_a_link_out_of_the_project_is_refused(places: Places) -> None:
    outside = places.root.parent / "outside"
    outside.mkdir()
    (places.root / ".claude").symlink_to(outside)

    with pytest.raises(Forbidden):
        install(places)
    assert list(outside.iterdir()) == []
    assert not (places.root / ".mcp.json").exists()


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop"])
def test_what_is_no_regular_file_is_refused(places: Places, kind: str) -> None:
    target = places.root / ".mcp.json"
    match kind:
        case "folder":
            target.mkdir()
        case "pipe":
            os.mkfifo(target)
        case _:
            target.symlink_to(target)

    with pytest.raises((InvalidInput, StoreUnavailable)):
        plan(places, Wishes())


def test_a_file_that_may_not_be_read_is_named_with_what_to_do(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def guarded(path: Path, *more: Any, **named: Any) -> int:
        if path == places.root / "GEMINI.md":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *more, **named)

    monkeypatch.setattr(os, "open", guarded)
    with pytest.raises(StoreUnavailable, match=r"GEMINI\.md: Permission denied\. Nothing") as refused:
        plan(places, EVERYTHING)

    assert refused.value.details["path"] == str(places.root / "GEMINI.md")
    assert "Fix the permissions" in refused.value.hint


def test_a_file_changed_since_it_was_planned_stops_all_writing(places: Places) -> None:
    planned = plan(places, EVERYTHING)
    (places.root / "GEMINI.md").write_text("just now\n")

    with pytest.raises(Conflict):
        planned.apply()

    assert tree(places.root) == {"GEMINI.md": b"just now\n"}


def test_a_failure_half_way_leaves_every_file_as_it_was(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    (places.root / ".mcp.json").write_text("{}")
    planned = plan(places, EVERYTHING)
    swap = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.name == "AGENTS.md":
            raise OSError(28, "No space left on device", str(target))
        return swap(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StoreUnavailable, match="No space left"):
        planned.apply()

    assert tree(places.root.parent) == {"project/.mcp.json": b"{}"}


def test_a_full_disk_is_noticed_before_any_file_takes_its_place(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    (places.root / "AGENTS.md").write_text("# Mine\n")
    before = tree(places.root.parent)
    planned = plan(places, EVERYTHING)
    opened, swap, swapped = os.fdopen, Path.replace, list[str]()

    class Full(io.BufferedWriter):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    def fdopen(descriptor: int, mode: str) -> IO[bytes]:
        made = Path(f"/proc/self/fd/{descriptor}").readlink().name
        return Full(io.FileIO(descriptor, "w")) if made.startswith(".AGENTS.md.") else opened(descriptor, mode)

    def replace(self: Path, target: Path) -> Path:
        swapped.append(target.name)
        return swap(self, target)

    monkeypatch.setattr(os, "fdopen", fdopen)
    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(StoreUnavailable, match="No space left"):
        planned.apply()

    assert swapped == []
    assert tree(places.root.parent) == before


def test_undoing_never_empties_a_file_on_a_full_disk(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    (places.root / "AGENTS.md").write_text("# Mine\n")
    planned = plan(places, EVERYTHING)
    swap = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.name == ".mcp.json":
            monkeypatch.setattr(Path, "write_bytes", refused_after_emptying)
            raise OSError(28, "No space left on device", str(target))
        return swap(self, target)

    def refused_after_emptying(self: Path, _: bytes) -> int:
        self.open("w").close()
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StoreUnavailable, match="No space left"):
        planned.apply()

    assert tree(places.root.parent) == {"project/AGENTS.md": b"# Mine\n"}


def test_modes_of_files_are_kept(places: Places) -> None:
    (places.root / ".mcp.json").write_text("{}")
    (places.root / ".mcp.json").chmod(0o600)

    install(places)

    assert (places.root / ".mcp.json").stat().st_mode & 0o777 == 0o600


def test_outside_of_git_no_gitignore_is_made(tmp_path: Path) -> None:
    places = Places(tmp_path, tmp_path / "state", tmp_path / "codex")
    install(places, Wishes())
    assert not (tmp_path / ".gitignore").exists()


def test_a_rule_that_ignores_the_whole_state_directory_is_pointed_out(places: Places) -> None:
    (places.root / ".gitignore").write_text("state/\n")
    assert any("roadmap.yaml" in note for note in plan(places, Wishes()).notes)


def test_refusals_of_people_are_kept_and_pointed_out(places: Places) -> None:
    (places.root / ".claude").mkdir()
    (places.root / ".claude/settings.json").write_text(
        '{"permissions": {"deny": ["mcp__wvo"]}, "disabledMcpjsonServers": ["wvo"]}'
    )
    planned = install(places)
    assert len([note for note in planned.notes if "settings.json" in note]) == 2
    assert read_json(places.root / ".claude/settings.json")["permissions"]["deny"] == ["mcp__wvo"]


def test_the_diff_shows_a_new_file_and_an_added_line(places: Places) -> None:
    (places.root / ".gitignore").write_text("a\n")
    shown = {change.file.shown: change.diff() for change in plan(places, Wishes()).changes}

    assert shown[".mcp.json"].startswith("--- /dev/null\n+++ b/.mcp.json\n")
    assert "+/state/state.db*" in shown[".gitignore"]
    assert " a" in shown[".gitignore"].splitlines()


def test_codex_home_follows_the_environment() -> None:
    assert codex_home({"CODEX_HOME": "/c"}) == Path("/c")
    assert codex_home({"HOME": "/h"}) == Path("/h/.codex")


@pytest.mark.parametrize("name", ["CLAUDE.md", "AGENTS.md", "GEMINI.md"])
def test_a_clients_file_gets_two_lines_that_lead_to_the_server(places: Places, name: str) -> None:
    install(places)

    start, *body, end = (places.root / name).read_text().splitlines()

    assert ("wvo-mcp:start" in start, "wvo-mcp:end" in end) == (True, True)
    assert len(body) == 2
    assert "`wvo`" in body[0]
    assert "lease" not in " ".join(body), "the server itself says how"
