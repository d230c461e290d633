"""`mcp list` of each client program shows the server that `wvo-mcp init` entered."""

import pytest

from tests.clients.programs import Client

pytestmark = pytest.mark.clients

# codex does not start a server to list it.
STATUS = {"claude": "Connected", "codex": "enabled", "gemini": "Connected"}


@pytest.mark.requirement("CORE-12", "CORE-13")
def test_a_client_lists_the_server_that_init_entered_as_in_order(client: Client) -> None:
    listed = client.list_servers()

    assert listed.exit_code == 0, listed.report()
    lines = (listed.stdout + listed.stderr).splitlines()
    [ours] = [line for line in lines if "wvo-mcp" in line and "wvo" in line.partition("wvo-mcp")[0]]
    assert STATUS[client.name] in ours
