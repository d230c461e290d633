"""Several real servers on one store: they see one breaker and one budget, whoever of them dies."""

from typing import Any

import pytest

from tests.support.databases import looked_at, written
from tests.support.stdio_client import Message, Refused, StdioClient, given
from tests.support.waiting import eventually
from tests.support.workspace import Workspace, some_tasks

pytestmark = pytest.mark.requirement("PROV-3", "PROV-4")

FILE = """
providers:
  claude:
    kind: claude
    limits: {hourly: 60000}
    tiers:
      low: {model: small, cost: {input: 1, output: 5}}
"""
AGENTS = ("ann", "bob", "cy")


@pytest.fixture
def servers(workspace: Workspace) -> dict[str, StdioClient]:
    """Three, with one provider that has room for three attempts in an hour."""
    (workspace.root / "state").mkdir(exist_ok=True)
    (workspace.root / "state" / "providers.yaml").write_text(FILE)
    limits = {"WVO_AUTOPILOT_WIP_LIMIT": "50", "WVO_AGENT_WIP_LIMIT": "50", "WVO_LEASE_GRACE_SECONDS": "0"}
    workspace.settings |= {"WVO_TOOLSETS": "all", "WVO_PROVIDER": "claude", **limits}
    started = {name: workspace.spawn(name) for name in AGENTS}
    for one in started.values():
        one.open()
    return started


def at_once(*calls: tuple[StdioClient, dict[str, Any]]) -> list[Message]:
    """Claims that are sent before any answer is read."""
    posted = [(one, one.post("tools/call", {"name": "claim_task", "arguments": arguments})) for one, arguments in calls]
    return [given(one.receive(message_id)["result"]) for one, message_id in posted]


def some(claims: list[Message]) -> list[Message] | None:
    """Claims of which one was granted."""
    return claims if any(claim["task"] for claim in claims) else None


def line_of(server: StdioClient) -> Message:
    return server.call("provider_status")["providers"][0]


def test_one_breaker_for_all_servers_and_one_of_them_tries_it(
    workspace: Workspace, servers: dict[str, StdioClient]
) -> None:
    ann, bob, cy = servers.values()
    ann.call("create_tasks", some_tasks("A", "B", "C", "D", complexity=3))
    ann.call("claim_task", {"task_id": "A"})
    opened = ann.call("provider_report", {"task_id": "A", "outcome": "rate_limit", "retry_after": 3_000})["breaker"]
    assert opened["state"] == "open"

    for other in (bob, cy):
        with pytest.raises(Refused, match="budget_exhausted") as refused:
            other.call("claim_task", {"task_id": "B"})
        assert refused.value.details["until"] == opened["until"]
        waits = other.call("claim_task")
        assert waits["reason"] == "budget" and 2_900 < waits["retry_after"] <= 3_001
        assert [(one["state"], one["until"]) for one in line_of(other)["breakers"]] == [("open", opened["until"])]

    ann.call("release_task", {"task_id": "A"})
    with written(workspace.source) as write:
        write("UPDATE breakers SET until = '2026-01-01T00:00:00.000Z'")
    claims = at_once(*((one, {}) for one in (ann, bob, cy) * 2))
    tried = [number for number, claim in enumerate(claims) if claim["task"] is not None]
    assert len(tried) == 1
    assert {claim["reason"] for number, claim in enumerate(claims) if number not in tried} == {"budget"}

    # It dies with its server and says nothing: the next one tries.
    dead = list(servers.values())[tried[0] % 3]
    dead.kill()
    dead.wait()
    left, right = (one for one in servers.values() if one is not dead)
    # PostgreSQL may take a moment to notice that its connection is gone.
    claims = eventually(lambda: some(at_once((left, {}), (right, {}))))
    assert sorted(claim["task"] is None for claim in claims) == [False, True]
    prober, other = (left, right) if claims[0]["task"] else (right, left)
    held = next(claim["task"]["id"] for claim in claims if claim["task"])
    assert other.call("claim_task")["reason"] == "budget"
    prober.call("provider_report", {"task_id": held, "tokens_out": 5})

    free = other.call("claim_task")
    assert free["task"] is not None
    assert (line_of(other)["state"], line_of(prober)["breakers"]) == ("closed", [])


def test_the_last_room_goes_to_as_many_attempts_as_fit_and_comes_back_from_the_dead(
    workspace: Workspace, servers: dict[str, StdioClient]
) -> None:
    ann, bob, cy = servers.values()
    ann.call("create_tasks", some_tasks(*(f"T{n}" for n in range(9)), complexity=3))

    claims = at_once(*((one, {}) for one in (ann, bob, cy) * 3))

    assert sum(claim["task"] is not None for claim in claims) == 3
    assert {claim.get("reason") for claim in claims} == {None, "budget"}
    assert (line_of(ann)["reserved"], line_of(bob)["windows"][0]["left"]) == (60_000, 0)
    holder = next(number for number, claim in enumerate(claims) if claim["task"] is not None)
    lost = claims[holder]
    dead = list(servers.values())[holder % 3]
    mine = [claim for number, claim in enumerate(claims) if claim["task"] and number % 3 == holder % 3]
    dead.kill()
    dead.wait()
    left, right = (one for one in servers.values() if one is not dead)

    granted = 0

    def all_is_given() -> bool:
        nonlocal granted
        claims = at_once(*((one, {}) for one in (left, right) * 3))
        granted += sum(claim["task"] is not None for claim in claims)
        return granted >= len(mine)

    eventually(all_is_given)
    assert all(claim["task"] is None for claim in at_once((left, {}), (right, {})))
    assert granted == len(mine)

    # What it had taken is told by another, with the token that is lost: it counts once, and settles nothing.
    told = {"task_id": lost["task"]["id"], "lease_token": lost["lease"]["token"], "tokens_out": 70_000}
    first = left.call("provider_report", {**told, "request_id": "r"})
    assert left.call("provider_report", {**told, "request_id": "r"}) == first
    assert (first["counted"]["settled"], line_of(right)["tokens_hour"]) == (False, 70_000)
    assert (line_of(right)["reserved"], right.call("claim_task")["reason"]) == (60_000, "budget")
    with looked_at(workspace.source) as database:
        assert database.value("SELECT count(*) FROM alerts WHERE kind = 'budget_exhausted'") == 1
