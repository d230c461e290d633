"""Long work as a client over stdio sees it."""

from typing import Any

import pytest

from tests.support.stdio_client import StdioClient, given
from tests.support.waiting import eventually
from tests.support.workspace import Workspace, some_tasks

RUNS = 1_000


@pytest.mark.sqlite
@pytest.mark.requirement("CORE-10")
def test_a_forecast_reports_progress_returns_a_handle_and_blocks_no_call(workspace: Workspace) -> None:
    workspace.constants = {"wvo_mcp.orchestration.jobs.PATIENCE_SECONDS": 0.05}
    client, other = (workspace.server(name, WVO_TOOLSETS="core,plan") for name in ("ann", "bob"))
    for half in range(2):  # so many that no machine is done by the time that a handle is given
        client.call("create_tasks", some_tasks(*(f"t{half}-{number}" for number in range(500))))
    call = {"name": "forecast", "arguments": {"runs": RUNS}, "_meta": {"progressToken": "how-far"}}
    asked = client.post("tools/call", call)

    for _ in range(20):
        client.call("plan_next", {"limit": 1})
    begun = given(client.receive(asked)["result"])
    assert begun["state"] == "running"
    assert given(client.answer("forecast", {"handle": begun["handle"]}))["state"] == "running", "20 calls came first"

    told = [note["params"] for note in client.notifications if note["method"] == "notifications/progress"]
    assert told
    assert {note["progressToken"] for note in told} == {"how-far"}
    assert [note["progress"] for note in told] == sorted({note["progress"] for note in told})

    def ended(server: StdioClient) -> dict[str, Any] | None:
        found = server.call("forecast", {"handle": begun["handle"]})
        return None if found.get("state") == "running" else found

    result = eventually(lambda: ended(client), 600)
    assert result["runs"] == RUNS

    # Work lives and dies with its server; another one is asked in vain, and says so.
    told = other.answer("forecast", {"handle": begun["handle"]})["structuredContent"]["error"]
    assert (told["code"], told["retryable"]) == ("not_found", False)
    assert "call again without the handle" in told["hint"]

    # A client that gave no token is sent nothing.
    given(other.answer("forecast", {"runs": 10}))
    assert not [note for note in other.notifications if note["method"] == "notifications/progress"]
