"""What `wvo-mcp init --remove` takes back."""

import json
from pathlib import Path

import pytest

from wvo_mcp.execution.installation.plan import Places, Wishes, plan, removal

EVERYTHING = Wishes(claude=True, codex=True, gemini=True)
THEIRS = {
    ".mcp.json": '{\n\t"mcpServers": {\n\t\t"x": {\n\t\t\t"command": "y"\n\t\t}\n\t},\n\t"other": 1\n}\n',
    ".claude/settings.json": '{"permissions": {"allow": ["Bash(ls)"]}, "hooks": {"Stop": [{"hooks": [{"command": "x"}]}]}}',
    ".codex/config.toml": '# ours\nmodel = "m"\n\n[mcp_servers.x]\ncommand = "y"\n',
    ".gemini/settings.json": '{"mcpServers": {}, "theme": "dark"}\n',
    "CLAUDE.md": "# Ours\r\nkeep\r\n",
    "AGENTS.md": "# Ours\n",
    ".gitignore": "node_modules\n",
    "directives/house.md": "# House\n",
}


@pytest.fixture
def places(tmp_path: Path) -> Places:
    root = tmp_path / "project"
    (root / ".git").mkdir(parents=True)
    return Places(root, root / "state", tmp_path / "home" / ".codex")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def folders(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_dir()}


def install(places: Places, wishes: Wishes = EVERYTHING) -> None:
    plan(places, wishes).apply()


def remove(places: Places, *, user_wide: bool = False) -> list[str]:
    """The notes for people."""
    planned = removal(places, user_wide=user_wide)
    planned.apply()
    return planned.notes


@pytest.mark.requirement("CORE-12")
def test_a_bare_project_is_bare_again(places: Places) -> None:
    before = tree(places.root), folders(places.root)
    install(places)

    planned = removal(places)
    assert tree(places.root) != before[0]
    planned.apply()

    assert (tree(places.root), folders(places.root)) == before
    assert planned.notes == []
    assert removal(places).changes == []


@pytest.mark.requirement("CORE-12")
def test_what_people_wrote_around_it_stays(places: Places) -> None:
    for name, text in THEIRS.items():
        (places.root / name).parent.mkdir(exist_ok=True)
        (places.root / name).write_bytes(text.encode())
    before = tree(places.root)
    install(places)

    remove(places)

    after = tree(places.root)
    assert after.keys() == before.keys()
    # An empty object goes with what was put into it, and JSON on one line is laid out anew.
    assert json.loads(after.pop(".gemini/settings.json")) == {"theme": "dark"}
    before.pop(".gemini/settings.json")
    name = ".claude/settings.json"
    assert json.loads(after.pop(name)) == json.loads(before.pop(name))
    assert after == before


def test_what_was_changed_since_stays_and_is_named(places: Places) -> None:
    install(places)
    (places.state_dir / "roadmap.yaml").write_text("epics: []\n")
    directive = sorted((places.root / "directives").glob("*.md"))[0]
    directive.write_text("# Mine\n")
    (places.root / ".mcp.json").write_text('{"mcpServers": {"wvo": {"command": "theirs"}}}')

    notes = remove(places)

    assert (places.state_dir / "roadmap.yaml").read_text() == "epics: []\n"
    assert directive.read_text() == "# Mine\n"
    assert "theirs" in (places.root / ".mcp.json").read_text()
    assert [note.partition(" ")[0] for note in notes] == [f"directives/{directive.name}", "state/roadmap.yaml"]


@pytest.mark.parametrize("work", ["state.db", "backups/db/x"])
def test_a_state_folder_with_work_stays_whole_and_ignored(places: Places, work: str) -> None:
    install(places)
    (places.state_dir / work).parent.mkdir(parents=True, exist_ok=True)
    (places.state_dir / work).write_text("work")
    before = tree(places.state_dir)

    notes = remove(places)

    assert tree(places.state_dir) == before
    assert "/state/state.db*" in (places.root / ".gitignore").read_text()
    assert [f"rm -r {places.state_dir}" in note for note in notes] == [True]


def test_the_users_own_configuration_of_codex_is_left_alone_unless_asked(places: Places) -> None:
    install(places, Wishes(codex=True, user_wide=True))
    config = places.codex_home / "config.toml"
    config.write_text(f'model = "m"\n\n{config.read_text()}')

    notes = remove(places)
    assert "[mcp_servers.wvo]" in config.read_text()
    assert ["--global" in note for note in notes] == [True]

    remove(places, user_wide=True)
    assert config.read_text() == 'model = "m"\n'


@pytest.mark.parametrize("linked", [False, True])
def test_a_home_of_codex_below_the_project_may_be_a_link_and_stays(tmp_path: Path, linked: bool) -> None:
    home = tmp_path / "codex-home"
    real = tmp_path.parent / f"{tmp_path.name}-codex" if linked else home
    real.mkdir()
    if linked:
        home.symlink_to(real)
    places = Places(tmp_path, tmp_path / "state", home)

    install(places, Wishes(codex=True, user_wide=True))
    assert "[mcp_servers.wvo]" in (real / "config.toml").read_text()

    remove(places, user_wide=True)
    assert list(real.iterdir()) == []


def test_a_hook_of_theirs_beside_ours_stays(places: Places) -> None:
    install(places)
    settings = places.root / ".claude/settings.json"
    settings.write_text(settings.read_text().replace('"hooks": [', '"hooks": [{"command": "theirs"},'))

    remove(places)

    theirs = [{"command": "theirs"}]
    left = json.loads(settings.read_text())["hooks"]
    assert left["Stop"] == [{"hooks": theirs}]
    assert [group["hooks"] for group in left["PreToolUse"]] == [theirs]


def test_an_entry_of_ours_that_was_given_settings_goes_with_them(places: Places) -> None:
    entry = {"command": "wvo-mcp", "env": {"WVO_TOOLSETS": "all"}}
    (places.root / ".mcp.json").write_text(json.dumps({"mcpServers": {"a": {}, "wvo": entry, "b": {}}}))

    remove(places)

    assert json.loads((places.root / ".mcp.json").read_text()) == {"mcpServers": {"a": {}, "b": {}}}
