"""Long work as a client over stdio sees it."""

import time
from typing import Any

import pytest

from tests.support.stdio_client import StdioClient, given
from tests.support.waiting import eventually
from tests.support.workspace import Workspace, some_tasks


@pytest.mark.sqlite
@pytest.mark.requirement("CORE-10")
def test_a_forecast_tells_its_progress_answers_with_a_handle_and_keeps_nobody_waiting(workspace: Workspace) -> None:
    client, other = (workspace.server(name, WVO_TOOLSETS="core,plan") for name in ("ann", "bob"))
    for half in range(2):  # so many that no machine is done within the second after which a handle is given
        client.call("create_tasks", some_tasks(*(f"t{half}-{number}" for number in range(500))))
    alone = sorted(waits(client))[10]
    call = {"name": "forecast", "arguments": {"runs": 10_000}, "_meta": {"progressToken": "how-far"}}
    asked = client.post("tools/call", call)

    beside = sorted(waits(client))[10]
    begun = given(client.receive(asked)["result"])
    assert begun["state"] == "running"
    assert beside < 0.5 + 20 * alone  # some milliseconds, on a machine with nothing else to do

    told = [note["params"] for note in client.notifications if note["method"] == "notifications/progress"]
    assert told
    assert {note["progressToken"] for note in told} == {"how-far"}
    assert [note["progress"] for note in told] == sorted({note["progress"] for note in told})

    def ended(server: StdioClient) -> dict[str, Any] | None:
        found = server.call("forecast", {"handle": begun["handle"]})
        return None if found.get("state") == "running" else found

    result = eventually(lambda: ended(client), 200)
    assert result["runs"] == 10_000

    # Work lives and dies with its server; another one is asked in vain, and says so.
    told = other.answer("forecast", {"handle": begun["handle"]})["structuredContent"]["error"]
    assert (told["code"], told["retryable"]) == ("not_found", False)
    assert "call again without the handle" in told["hint"]

    # A client that gave no token is sent nothing.
    given(other.answer("forecast", {"runs": 10}))
    assert not [note for note in other.notifications if note["method"] == "notifications/progress"]


def waits(client: StdioClient) -> list[float]:
    """Seconds that each of some short calls took."""
    took: list[float] = []
    for _ in range(20):
        began = time.monotonic()
        client.call("plan_next", {"limit": 1})
        took.append(time.monotonic() - began)
    return took
