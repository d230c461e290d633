"""A repeat answers the first result (contract, section 6)."""

from datetime import timedelta
from typing import Any

import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from tests.support.sessions import an_agent
from wvo_mcp.errors import RequestIdReused, StaleLease

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CORE-8")]


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
        ("checkpoint", {"summary": "s"}),
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
