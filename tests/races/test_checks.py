"""The checks of the races find what they are there to find."""

from datetime import timedelta
from typing import Any

import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from tests.support.history import Limits
from tests.support.invariants import verify
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.task import Status
from wvo_mcp.ports import Transaction
from wvo_mcp.store.sqlite.store import SqliteStore

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CLAIM-1")]


@pytest.fixture
async def worked(bench: Bench) -> Bench:
    """A store in which B waits for A, which ann holds, and C is ready in an epic that takes one task at a time."""
    await bench.create(a_task("A"), a_task("B", depends_on=["A"]), a_task("C", epic_id="E"), a_task("D", epic_id="E"))
    await bench.force("UPDATE epics SET wip_limit = 1")
    await bench.claim(ANN, "A")
    await bench.call("checkpoint", ANN, task_id="A", summary="half")
    await bench.call("context_write", ANN, topic="t", content="c")
    verify(bench.source)
    return bench


TAMPERING = {
    "UPDATE counters SET n = n + 1 WHERE name = 'ready'": "a counter equals its recount",
    "UPDATE tasks SET unmet_deps = 0 WHERE id = 'B'": "unmet_deps counts",
    "UPDATE epics SET in_progress = 1": "an epic counts",
    "UPDATE lanes SET ready = ready + 1": "a lane counts",
    "UPDATE tasks SET gates = 4 WHERE id = 'C'": "the children gate",
    "UPDATE tasks SET session_id = NULL WHERE id = 'A'": "work in progress has",
    "UPDATE tasks SET lease_expires_at = 'x' WHERE id = 'C'": "what is not in progress has no lease",
    "UPDATE agent_pool SET current_task_id = NULL": "an agent is busy",
    "UPDATE tasks SET score = 99 WHERE id = 'A'": "has the score 99",
    "UPDATE tasks SET bundle_value = 7.5 WHERE id = 'A'": "has the bundle .7.5",
    "UPDATE tasks SET tail = 7 WHERE id = 'A'": "has the tail 7",
    "UPDATE tasks SET event_head = 'x' WHERE id = 'A'": "knows the hash of its last event",
    "UPDATE tasks SET lease_token = 9 WHERE id = 'A'": "its events lead to",
    "UPDATE tasks SET status = 'blocked' WHERE id = 'C'": "its events lead to",
    "UPDATE events SET agent_id = 'bob' WHERE kind = 'task.claimed'": "the chain of A is broken",
    "DELETE FROM events WHERE kind = 'task.checkpoint'": "without a gap",
    "DELETE FROM checkpoints": "a checkpoint and its event come together",
    "DELETE FROM context_entries": "a context entry and its event come together",
    "INSERT INTO task_dependencies (task_id, depends_on_task_id) VALUES ('A', 'B')": "form a circle",
}


@pytest.mark.full_on_postgres
@pytest.mark.parametrize("statement", TAMPERING)
async def test_a_database_that_was_tampered_with_is_found_out(worked: Bench, statement: str) -> None:
    if isinstance(worked.store, SqliteStore):
        guards = "SELECT name AS guard FROM sqlite_schema WHERE type = 'trigger' AND sql LIKE '%RAISE%'"
    else:
        guards = (
            "SELECT tgname || ' ON ' || tgrelid::regclass AS guard FROM pg_trigger WHERE tgfoid = 'refused'::regproc"
        )
    for trigger in await worked.sql(guards):
        await worked.force(f"DROP TRIGGER {trigger['guard']}")

    await worked.force(statement)

    with pytest.raises(AssertionError, match=TAMPERING[statement]):
        verify(worked.source)


async def granted(bench: Bench, caller: Caller, task_id: str, *, token: int) -> None:
    """A claim that nothing has judged."""

    async def grant(tx: Transaction) -> None:
        await tx.sessions.ensure()
        await tx.sessions.touch_agent(caller.agent_id)
        fields: dict[str, Any] = {
            "status": Status.IN_PROGRESS,
            "assigned_to": caller.agent_id,
            "session_id": caller.session_id,
            "lease_token": token,
            "lease_expires_at": tx.now + timedelta(minutes=10),
            "lease_seconds": 600,
        }
        data = {"lease_token": token, "agent": caller.agent_id}
        await tx.tasks.change(await tx.tasks.get(task_id), "task.claimed", fields, data)

    await bench.write(grant, caller)


@pytest.mark.full_on_postgres
@pytest.mark.parametrize(
    ("task_id", "token", "limits", "found"),
    [
        ("A", 2, Limits(), "the session ann/1 still held it"),
        ("B", 1, Limits(), "claimed before .'A'. were done"),
        ("C", 2, Limits(), "token 2 follows 0"),
        ("C", 1, Limits(store=1), "2 tasks in progress, the limit is 1"),
        ("C", 1, Limits(), None),
    ],
)
async def test_a_claim_that_should_not_have_been_is_found_in_the_events(
    worked: Bench, task_id: str, token: int, limits: Limits, found: str | None
) -> None:
    await granted(worked, BOB, task_id, token=token)
    # The judged state may be right again at the end; the events still tell.
    await worked.force("UPDATE agent_pool SET current_task_id = (SELECT id FROM tasks WHERE assigned_to = agent_id)")
    await worked.force("UPDATE agent_pool SET status = CASE WHEN current_task_id IS NULL THEN 'idle' ELSE 'busy' END")

    if found is None:
        assert verify(worked.source, limits).most_in_progress == 2
        return
    with pytest.raises(AssertionError, match=found):
        verify(worked.source, limits)


@pytest.mark.full_on_postgres
async def test_a_limit_exceeded_for_a_moment_is_found_at_the_end(worked: Bench) -> None:
    await granted(worked, BOB, "C", token=1)
    await granted(worked, ANN, "D", token=1)
    for caller, task_id in ((BOB, "C"), (ANN, "D"), (ANN, "A")):
        await worked.complete(task_id, caller)

    with pytest.raises(AssertionError, match="2 tasks of E in progress, the limit is 1") as wrong:
        verify(worked.source, Limits(agent=1))
    assert "ann has 2 in progress, the limit is 1" in str(wrong.value)
