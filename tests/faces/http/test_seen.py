"""A page that is older than the state does nothing by mistake: not to work, a budget, an alert or a worker."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import anyio
import httpx2
import pytest

from tests.support.bench import ANN, OWNER, Bench, a_task
from tests.support.providers import FixedProviders, limited, only
from tests.support.web import ADMIN, CSRF, visiting
from wvo_mcp.domain.access import Principal, Via
from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.providers.catalogue import Limits
from wvo_mcp.faces.http import seen
from wvo_mcp.faces.http.controls import ASKED_TWICE
from wvo_mcp.faces.http.pages.rendering import SEEN, environment
from wvo_mcp.faces.http.seen import WATCHED
from wvo_mcp.operations import ALL
from wvo_mcp.orchestration.pool import parking

pytestmark = [pytest.mark.anyio, pytest.mark.both_stores, pytest.mark.requirement("DASH-2")]

EVE = Principal("eve", Role.ADMIN, Via.SESSION, "s-3", csrf=CSRF)
WORKER = {
    "task_id": "T1", "lease_token": 1, "agent_id": "auto-h.1", "run_id": "r1", "provider": "claude", "tier": "low",
    "model": "m", "host": "h", "client_session": "c-1", "state": "working",
}  # fmt: skip


async def last(bench: Bench) -> int:
    return await bench.read(lambda tx: tx.events.last_seq())


async def do(client: httpx2.AsyncClient, operation: str, **fields: Any) -> httpx2.Response:
    form = {"csrf": CSRF, "confirmed": "yes", **fields}
    return await client.post(
        f"/do/{operation}", content=urlencode(form), headers={"content-type": "application/x-www-form-urlencoded"}
    )


async def _works(bench: Bench) -> dict[str, Any]:
    return {}


async def _paused(bench: Bench) -> dict[str, Any]:
    await bench.call("pause", OWNER, reason="lunch")
    return {}


async def _budget(bench: Bench) -> dict[str, Any]:
    catalogue = limited("claude", Limits(hourly=30_000), only("claude"))
    bench.services = replace(bench.services, providers=FixedProviders(catalogue))
    return {"scope": "provider", "name": "claude", "hourly": 1_000}


async def _alert(bench: Bench) -> dict[str, Any]:
    await bench.write(lambda tx: tx.alerts.raise_alert("disk", "warning", None, "nearly full"))
    (alert,) = await bench.read(lambda tx: tx.alerts.open_alerts(5))
    return {"alert_id": alert["id"]}


async def _worker(bench: Bench) -> dict[str, Any]:
    await bench.create(a_task("T1"))
    worker = await bench.write(lambda tx: tx.workers.add(WORKER))
    return {"worker_id": worker.worker_id}


async def _paused_and_resumed(bench: Bench, fields: Mapping[str, Any]) -> None:
    await bench.call("pause", OWNER)
    await bench.call("resume", OWNER)


async def _resumed_and_paused(bench: Bench, fields: Mapping[str, Any]) -> None:
    await bench.call("resume", OWNER)
    await bench.call("pause", OWNER)


async def _raised(bench: Bench, fields: Mapping[str, Any]) -> None:
    await ALL["budget_raise"](bench.services, OWNER, fields)


async def _got_worse(bench: Bench, fields: Mapping[str, Any]) -> None:
    await bench.write(lambda tx: tx.alerts.raise_alert("disk", "critical", None, "full"))


async def _is_over(bench: Bench, fields: Mapping[str, Any]) -> None:
    await bench.write(lambda tx: tx.alerts.resolve_alert("disk", None))


async def _rests(bench: Bench, fields: Mapping[str, Any]) -> None:
    async def work(tx: Any) -> None:
        worker, task = await tx.workers.get(fields["worker_id"]), await tx.tasks.get("T1")
        await parking.pause(tx, worker, task, "paused by a person")

    await bench.write(work)


Step = Callable[[Bench], Awaitable[dict[str, Any]]]
Change = Callable[[Bench, Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    operation: str
    before: Step
    meanwhile: Change


CASES = [
    Case("pause", _works, _paused_and_resumed),
    Case("stop", _works, _paused_and_resumed),
    Case("resume", _paused, _resumed_and_paused),
    Case("budget_raise", _budget, _raised),
    Case("alert_ack", _alert, _got_worse),
    Case("alert_resolve", _alert, _is_over),
    Case("worker_stop", _worker, _rests),
]


async def state(bench: Bench) -> dict[str, Any]:
    """Of all that these controls can change."""
    tables = ("alerts", "budget_raises", "workers", "events")
    found = {table: await bench.sql(f"SELECT * FROM {table} ORDER BY 1") for table in tables}
    return found | {"paused": await bench.read(lambda tx: tx.state.get("paused"))}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.operation)
async def test_a_page_that_is_older_than_what_it_acts_on_does_nothing(bench: Bench, case: Case) -> None:
    fields = await case.before(bench)
    old = await last(bench)
    await case.meanwhile(bench, fields)
    before = await state(bench)

    async with visiting(bench, ADMIN) as client:
        refused = await do(client, case.operation, seen=old, **fields)
        assert refused.status_code == 409, refused.text
        assert "It has changed" in refused.text and "Nothing was done." in refused.text
        assert "Overview</a>" in refused.text
        assert await state(bench) == before
        if case.meanwhile is not _is_over:
            assert (await do(client, case.operation, seen=await last(bench), **fields)).status_code == 303


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.operation)
async def test_what_has_not_changed_is_acted_on_however_much_else_has(bench: Bench, case: Case) -> None:
    fields = await case.before(bench)
    old = await last(bench)
    await bench.create(a_task("OTHER"))
    await bench.write(lambda tx: tx.alerts.raise_alert("other", "warning", None, "m"))
    await bench.write(lambda tx: tx.alerts.raise_alert("other", "critical", None, "m"))
    await bench.write(lambda tx: tx.alerts.raise_alert("disk", "warning", None, "still nearly full"))
    worker = await bench.write(lambda tx: tx.workers.add({**WORKER, "task_id": "OTHER"}))
    await bench.call("worker_stop", OWNER, worker_id=worker.worker_id)

    async with visiting(bench, ADMIN) as client:
        answer = await do(client, case.operation, seen=old, **fields)

    assert answer.status_code == 303, answer.text


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.operation)
async def test_of_two_people_who_act_at_once_one_is_told_that_it_has_changed(bench: Bench, case: Case) -> None:
    fields = await case.before(bench)
    old = await last(bench)
    codes: list[int] = []

    async def act(client: httpx2.AsyncClient) -> None:
        codes.append((await do(client, case.operation, seen=old, **fields)).status_code)

    async with visiting(bench, ADMIN) as ada, visiting(bench, EVE) as eve, anyio.create_task_group() as group:
        group.start_soon(act, ada)
        group.start_soon(act, eve)

    assert sorted(codes) == [303, 409]


@pytest.mark.parametrize("text", [None, "", "-1", "x", "9" * 30, "1 or 1"])
async def test_a_form_that_does_not_say_what_was_seen_is_refused(bench: Bench, text: str | None) -> None:
    given = {} if text is None else {"seen": text}
    async with visiting(bench, ADMIN) as client:
        answer = await do(client, "pause", **given)
        twice = await client.post(
            "/do/pause",
            content=f"csrf={CSRF}&confirmed=yes&seen=0&seen=99999",
            headers={"content-type": "application/x-www-form-urlencoded"},
        )

    assert (answer.status_code, twice.status_code) == (400, 400)
    assert await bench.read(lambda tx: tx.state.get("paused")) in (None, False)


async def test_a_page_from_long_ago_is_too_old_to_act_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "LOOKED_AT", 2)
    monkeypatch.setattr(seen, "_MOST", 4)
    fields, old = await _alert(bench), await last(bench)
    for number in range(5):
        await bench.write(lambda tx, n=number: tx.alerts.raise_alert(f"k{n}", "warning", None, "m"))
        await bench.write(lambda tx, n=number: tx.alerts.resolve_alert(f"k{n}", None))

    async with visiting(bench, ADMIN) as client:
        refused = await do(client, "alert_ack", seen=old, **fields)

    assert refused.status_code == 409 and "too old" in refused.text


async def test_every_control_says_what_its_page_knew(bench: Bench) -> None:
    class Anybody:
        @staticmethod
        def may(operation: str) -> bool:
            return True

    ui: Any = environment().globals["ui"]
    for name in (*WATCHED, *ASKED_TWICE):
        assert name in ALL
        assert f'name="seen" value="{SEEN}"' in ui.control(Anybody(), "", "/", name, "Do it")


async def test_another_budget_and_another_worker_are_no_reason(bench: Bench) -> None:
    fields, old = await _budget(bench), await last(bench)
    await bench.write(lambda tx: tx.events.append("budget.raised", None, {"scope": "provider", "name": "codex"}))

    async with visiting(bench, ADMIN) as client:
        assert (await do(client, "budget_raise", seen=old, **fields)).status_code == 303
    assert ANN.agent_id not in str(await bench.sql("SELECT by_agent FROM budget_raises"))


@pytest.mark.parametrize("fields", [{}, {"seen_task": "T1", "task_id": "T1"}])
async def test_a_page_that_knew_more_than_the_restored_store_does_nothing(bench: Bench, fields: dict[str, str]) -> None:
    await bench.create(a_task("T1"))
    before = await last(bench)

    async with visiting(bench, ADMIN) as client:
        refused = await do(client, "cancel" if fields else "pause", seen=before + 1, **fields)
        assert (refused.status_code, "Nothing was done." in refused.text) == (409, True)
        assert await last(bench) == before
        assert (await do(client, "cancel" if fields else "pause", seen=before, **fields)).status_code == 303
