"""Whether a wired client gets to our server, and to which store."""

import json
from pathlib import Path
from typing import Any

import pytest

from wvo_mcp.domain.finding import Finding
from wvo_mcp.execution.doctor import stray, trust
from wvo_mcp.project import Project

OURS = {"command": "wvo-mcp"}


def strays(root: Path, client: str, env: Any = None, names: Any = None, **environ: str) -> list[Finding]:
    entry = {**OURS, **({} if env is None else {"env": env}), **({} if names is None else {"env_vars": names})}
    return stray(client, "its file", entry, Project({"HOME": str(root), **environ}, str(root)))


@pytest.mark.requirement("CORE-12")
@pytest.mark.parametrize("client", ["claude", "codex", "gemini"])
def test_an_entry_with_another_store_is_reported_without_its_password(tmp_path: Path, client: str) -> None:
    [found] = strays(tmp_path, client, {"WVO_DATABASE_URL": "postgresql://u:hidden@db/wvo"})

    assert "postgresql://db:5432/wvo" in found.found
    assert str(tmp_path / "state" / "state.db") in found.found
    assert "settings.yaml" in str(found.remedy)
    assert "hidden" not in f"{found.found}{found.remedy}"

    assert strays(tmp_path, client, {"WVO_STATE_DIR": "elsewhere"})
    assert strays(tmp_path, client, {"ROOT": "/"})
    assert strays(tmp_path, client, {"WVO_STATE_DIR": str(tmp_path / "state"), "WVO_TOOLSETS": "all"}) == []
    assert strays(tmp_path, client) == []
    assert strays(tmp_path, client, 5, 5) == []


def test_what_the_client_puts_into_its_entry_is_the_environments(tmp_path: Path) -> None:
    url = {"WVO_DATABASE_URL": "postgresql://u:p@db/wvo", "STORE": "postgresql://v:q@db/wvo"}

    assert strays(tmp_path, "claude", {"WVO_DATABASE_URL": "${STORE}"}, **url) == []
    assert strays(tmp_path, "gemini", {"WVO_DATABASE_URL": "$STORE"}, **url) == []
    assert strays(tmp_path, "claude", {"WVO_DATABASE_URL": "${GONE:-postgresql://db/wvo}"}, **url) == []
    assert strays(tmp_path, "codex", {"WVO_DATABASE_URL": "${STORE}"}, **url)


def test_codex_passes_on_what_the_entry_names(tmp_path: Path) -> None:
    url = {"STORE": "postgresql://u:p@db/wvo"}
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "settings.yaml").write_text("database_url: ${STORE}\n")

    [found] = strays(tmp_path, "codex", **url)
    assert "STORE is not set" in found.found
    assert "env_vars" in str(found.remedy)
    assert strays(tmp_path, "codex", None, ["STORE"], **url) == []
    assert strays(tmp_path, "claude", **url) == []


def test_a_folder_that_claude_does_not_trust_is_reported(tmp_path: Path) -> None:
    root, environ = tmp_path / "project", {"HOME": str(tmp_path)}
    file = tmp_path / ".claude.json"

    def untrusted() -> bool:
        return bool(trust("claude", ".mcp.json", root, environ))

    assert untrusted()
    for content in ("[]", "{", '{"projects": 5}', '{"projects": {"%s": {}}}' % root):  # noqa: UP031
        file.write_text(content)
        assert untrusted()
    for folder in (root, tmp_path):  # trust in a folder holds for those below
        file.write_text(json.dumps({"projects": {str(root): {}, str(folder): {"hasTrustDialogAccepted": True}}}))
        assert not untrusted()


def test_a_folder_that_codex_does_not_trust_is_reported_where_its_own_file_wires_it(tmp_path: Path) -> None:
    root, environ = tmp_path / "project", {"HOME": str(tmp_path)}
    wired = str(root / ".codex" / "config.toml")

    assert "does not read" in trust("codex", wired, root, environ)[0].found
    assert trust("codex", str(tmp_path / ".codex/config.toml"), root, environ) == []
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex/config.toml").write_text(f'[projects."{root}"]\ntrust_level = "trusted"\n')
    assert trust("codex", wired, root, environ) == []
