"""A repeat answers the first result (contract, section 6)."""

from datetime import timedelta
from typing import Any

import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from tests.support.sessions import an_agent
from wvo_mcp.domain.instant import iso
from wvo_mcp.errors import RequestIdReused, StaleLease
from wvo_mcp.orchestration.queue.claims import reap

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CORE-8")]

CLI = an_agent("carla", "cli:carla", durable=True)
LEASE = 600


async def test_a_repeated_request_id_answers_the_first_result_and_does_nothing_again(bench: Bench) -> None:
    first = await bench.call("create_tasks", tasks=[a_task("T1")], request_id="r1")
    assert await bench.call("create_tasks", tasks=[a_task("T1")], request_id="r1") == first
    claimed = await bench.claim(request_id="r2")
    assert await bench.claim(request_id="r2") == claimed
    written = await bench.call("context_write", topic="t", content="c", request_id="r3")
    assert await bench.call("context_write", topic="t", content="c", request_id="r3") == written
    changed = await bench.call("update_task", task_id="T1", title="n", request_id="r4")
    assert await bench.call("update_task", task_id="T1", title="n", request_id="r4") == changed

    assert (await bench.task("T1")).lease_token == 1
    assert len(await bench.sql("SELECT 1 FROM context_entries")) == 1


async def test_a_request_id_with_another_input_is_refused(bench: Bench) -> None:
    await bench.call("create_tasks", tasks=[a_task("T1")], request_id="r1")

    with pytest.raises(RequestIdReused) as refused:
        await bench.call("create_tasks", tasks=[a_task("T2")], request_id="r1")

    assert refused.value.details["field"] == "request_id"
    assert await bench.call("create_tasks", BOB, tasks=[a_task("T2")], request_id="r1") == {"created": ["T2"]}
    assert await bench.call("context_write", topic="t", content="c", request_id="r1") == {"topic": "t", "version": 1}


async def test_a_call_that_failed_leaves_its_request_id_free(bench: Bench) -> None:
    with pytest.raises(Exception, match="No task"):
        await bench.call("create_tasks", tasks=[a_task("T1", depends_on=["T0"])], request_id="r1")

    assert await bench.call("create_tasks", tasks=[a_task("T1")], request_id="r1") == {"created": ["T1"]}


async def test_request_ids_are_forgotten_after_a_day_and_not_before(bench: Bench) -> None:
    await bench.call("create_tasks", tasks=[a_task("T1")], request_id="r1")
    bench.clock.advance(hours=23)
    await bench.write(lambda tx: tx.replays.forget(tx.now - timedelta(hours=24)))
    assert await bench.call("create_tasks", tasks=[a_task("T1")], request_id="r1") == {"created": ["T1"]}
    bench.clock.advance(hours=2)
    await bench.write(lambda tx: tx.replays.forget(tx.now - timedelta(hours=24)))

    with pytest.raises(Exception, match="exists"):
        await bench.call("create_tasks", tasks=[a_task("T1")], request_id="r1")


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("complete_task", {"summary": "s"}),
        ("fail_task", {"error": "e"}),
        ("release_task", {}),
        ("block_task", {"reason": "r"}),
    ],
)
async def test_a_lease_write_repeated_with_its_token_answers_its_first_result(
    bench: Bench, tool: str, arguments: dict[str, Any]
) -> None:
    await bench.create(a_task("T1"))
    token = (await bench.claim())["lease"]["token"]
    first = await bench.call(tool, task_id="T1", lease_token=token, **arguments)
    bench.clock.advance(5)

    assert await bench.call(tool, task_id="T1", lease_token=token, **arguments) == first
    assert await bench.call(tool, task_id="T1", **arguments) == first
    again = an_agent("ann", "ann/2")  # the answer was lost together with the server
    assert await bench.call(tool, again, task_id="T1", lease_token=token, **arguments) == first
    events = await bench.kinds("T1")
    assert len(events) == len(set(events))


async def test_a_repeat_of_an_empty_claim_is_evaluated_again_until_it_gives_a_task(bench: Bench) -> None:
    nothing = await bench.claim(request_id="r")
    assert (nothing["task"], nothing["reason"]) == (None, "no_ready_tasks")
    await bench.create(a_task("T1"), a_task("T2"))

    given = await bench.claim(request_id="r")
    again = await bench.claim(request_id="r")

    assert given["task"]["id"] == "T1"
    assert again == given
    assert await bench.status("T2") == ["pending"]


@pytest.mark.requirement("CLAIM-2")
async def test_a_repeated_checkpoint_answers_its_first_result_with_a_lease_that_it_renewed(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    token = (await bench.claim(CLI, lease_seconds=LEASE))["lease"]["token"]
    saved: dict[str, Any] = {"task_id": "T1", "summary": "working", "progress": 10}
    first = await bench.call("checkpoint", CLI, lease_token=token, **saved)
    await bench.call("heartbeat", CLI, task_id="T1", progress=50)

    for given in ({"lease_token": token}, {}, {"lease_token": token}):
        bench.clock.advance(LEASE - 1)
        again = await bench.call("checkpoint", CLI, **given, **saved)
        assert again["checkpoint"] == first["checkpoint"]
        assert again["lease"] == {"token": token, "expires_at": iso(bench.clock.now() + timedelta(seconds=LEASE))}

    assert (await bench.claim(BOB))["task"] is None
    task = await bench.task("T1")
    assert (task.lease_token, task.progress) == (token, 50)
    assert (await bench.kinds("T1")).count("task.checkpoint") == 1
    await bench.complete("T1", CLI)


@pytest.mark.requirement("CLAIM-2")
async def test_a_late_repeat_renews_for_the_holder_and_not_for_one_who_lost_the_task(
    bench: Bench,
) -> None:
    await bench.create(a_task("T1"))
    token = (await bench.claim(CLI, lease_seconds=LEASE))["lease"]["token"]
    saved: dict[str, Any] = {"task_id": "T1", "lease_token": token, "summary": "working"}
    await bench.call("checkpoint", CLI, **saved)
    bench.clock.advance(LEASE + 1)  # nobody has looked since

    renewed = await bench.call("checkpoint", CLI, **saved)
    assert renewed["lease"]["expires_at"] == iso(bench.clock.now() + timedelta(seconds=LEASE))

    bench.clock.advance(LEASE + 1)
    await bench.write(lambda tx: reap(tx, bench.policy))
    for holder in (None, BOB):
        if holder is not None:
            await bench.claim(holder, "T1")
        before = (await bench.task("T1")).model_dump()
        with pytest.raises(StaleLease):
            await bench.call("checkpoint", CLI, **saved)
        assert (await bench.task("T1")).model_dump() == before


@pytest.mark.requirement("CLAIM-2")
async def test_a_repeat_from_another_session_renews_once_that_of_the_holder_has_ended(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    token = (await bench.claim())["lease"]["token"]
    saved: dict[str, Any] = {"task_id": "T1", "lease_token": token, "summary": "working"}
    first = await bench.call("checkpoint", **saved)
    successor = an_agent("ann", "ann/2")
    with pytest.raises(StaleLease):
        await bench.call("checkpoint", successor, **saved)

    bench.servers.kill("ann/1")
    again = await bench.call("checkpoint", successor, **saved)

    assert again["checkpoint"] == first["checkpoint"]
    assert (await bench.task("T1")).session_id == "ann/2"


async def test_a_repeated_checkpoint_after_completion_answers_its_first_result(
    bench: Bench,
) -> None:
    await bench.create(a_task("T1"))
    token = (await bench.claim())["lease"]["token"]
    first = await bench.call("checkpoint", task_id="T1", lease_token=token, summary="working")
    await bench.complete("T1")

    assert await bench.call("checkpoint", task_id="T1", lease_token=token, summary="working") == first
    assert await bench.status("T1") == ["done"]


async def test_a_late_repeat_is_answered_even_when_somebody_else_holds_the_task_by_now(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    token = (await bench.claim(ANN))["lease"]["token"]
    first = await bench.call("release_task", ANN, task_id="T1", lease_token=token)
    await bench.claim(BOB)

    assert await bench.call("release_task", ANN, task_id="T1", lease_token=token) == first
    assert await bench.status("T1") == ["in_progress"]
    with pytest.raises(StaleLease):
        await bench.call("release_task", BOB, task_id="T1", lease_token=token)


async def test_another_write_with_an_old_token_is_stale(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    token = (await bench.claim())["lease"]["token"]
    await bench.complete("T1", lease_token=token)

    with pytest.raises(StaleLease):
        await bench.call("complete_task", task_id="T1", lease_token=token, summary="another one")
