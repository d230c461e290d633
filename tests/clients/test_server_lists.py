"""`mcp list` of each client program shows the server that `wvo-mcp init` entered."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.processes import run
from tests.clients.programs import SERVER, Claude, Client, Codex
from tests.support.waiting import eventually

pytestmark = pytest.mark.clients

# codex does not start a server to list it.
STATUS = {"claude": "Connected", "codex": "enabled", "gemini": "Connected"}


@pytest.mark.requirement("CORE-12", "CORE-13")
def test_a_client_lists_the_server_that_init_entered_as_in_order(client: Client) -> None:
    def in_order() -> bool:
        listed = client.list_servers()
        assert listed.exit_code == 0, listed.report()
        lines = (listed.stdout + listed.stderr).splitlines()
        [ours] = [line for line in lines if "wvo-mcp" in line and "wvo" in line.partition("wvo-mcp")[0]]
        return STATUS[client.name] in ours

    # claude has been seen to list it before it had read what the person allowed in the project.
    assert eventually(in_order, seconds=60)


@pytest.mark.requirement("CORE-12")
def test_codex_reads_the_projects_entry_in_a_trusted_project(tmp_path: Path, need: Callable[[str], None]) -> None:
    need("codex")
    client = Codex.wired(tmp_path)
    assert "wvo-mcp" in client.list_servers().stdout

    config = client.home / ".codex/config.toml"
    config.write_text(config.read_text().replace('"trusted"', '"untrusted"'))
    assert "wvo-mcp" not in client.list_servers().stdout
    examined = run([SERVER, "doctor", "--json"], cwd=client.project, env=client.environment)
    assert "Codex does not trust" in examined.stdout, examined.report()


@pytest.mark.requirement("CORE-12")
def test_claude_starts_the_projects_server_in_a_trusted_folder(tmp_path: Path, need: Callable[[str], None]) -> None:
    need("claude")
    client = Claude.wired(tmp_path)
    (client.home / ".claude.json").unlink()

    assert "Connected" not in client.list_servers().stdout
    examined = run([SERVER, "doctor", "--json"], cwd=client.project, env=client.environment)
    assert "Claude Code does not trust" in examined.stdout, examined.report()
