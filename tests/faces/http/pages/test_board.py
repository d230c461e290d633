"""The board: columns, filters in the address, one column page by page, priorities set in place."""

import re

import pytest

from tests.support.bench import BOB, OWNER, Bench, a_task
from tests.support.web import CSRF, READER, a_visitor, caller_of, operations, visiting
from wvo_mcp.domain.access import Principal
from wvo_mcp.domain.lease import Role
from wvo_mcp.operations import ALL

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-1", "DASH-2")]

OPERATOR = a_visitor(Role.OPERATOR)


def rows(html: str) -> list[str]:
    return re.findall(r'id="task-([^"]+)"', html)


@pytest.mark.parametrize("who", [READER, *map(a_visitor, Role)])
async def test_an_empty_board_says_how_to_add_a_task(bench: Bench, who: Principal) -> None:
    async with visiting(bench, who) as client:
        for address in ("/tasks", "/tasks?view=epic", "/tasks?view=milestone", "/tasks?status=done"):
            page = await client.get(address)
            assert page.status_code == 200
            assert "wvo-mcp add TITLE" in page.text


async def test_columns_lead_to_all_of_their_tasks(bench: Bench) -> None:
    await bench.create(*(a_task(f"T{n:02}", epic_id="E") for n in range(30)))
    await bench.done("T00", caller=BOB)

    async with visiting(bench) as client:
        html = (await client.get("/tasks")).text
        alone = (await client.get("/tasks?status=pending")).text
        epic = (await client.get("/tasks?view=epic")).text

    assert len(rows(html)) == 9
    assert 'href="/tasks?status=pending"' in html
    assert len(rows(alone)) == 29
    assert 'href="/tasks?epic_id=E"' in epic
    assert "3 % done" in epic


async def test_a_long_column_goes_on_on_the_next_page(bench: Bench) -> None:
    await bench.create(*(a_task(f"T{n:02}") for n in range(70)))

    async with visiting(bench) as client:
        first = (await client.get("/tasks?status=pending")).text
        following = re.findall(r'class="more" href="([^"]+)"', first)[-1].replace("&amp;", "&")
        second = (await client.get(following)).text

    assert len(set(rows(first) + rows(second))) == 70


async def test_filters_of_the_address_are_those_of_the_operation(bench: Bench) -> None:
    await bench.create(a_task("A", epic_id="E", labels=["x"]), a_task("B", title="a needle"))

    async with visiting(bench) as client:
        assert rows((await client.get("/tasks?query=needle&status=&epic_id=")).text) == ["B"]
        assert rows((await client.get("/tasks?label=x")).text) == ["A"]
        data = (await client.get("/tasks.json?epic_id=E")).json()
        wrong = await client.get("/tasks?epic_id=NO")
        unknown = await client.get("/tasks?colour=red")

    assert data == await ALL["board"](bench.services, caller_of(READER, None, None), {"epic_id": "E"})
    assert (wrong.status_code, unknown.status_code) == (404, 400)


@pytest.mark.requirement("DASH-2")
async def test_a_priority_is_set_in_place_unless_the_task_has_changed(bench: Bench) -> None:
    await bench.create(a_task("A"))
    version = str((await bench.task("A")).version)
    form = {"csrf": CSRF, "back": "/tasks", "task_id": "A", "expected_version": version, "priority": "critical"}

    async with visiting(bench, OPERATOR) as client:
        html = (await client.get("/tasks")).text
        assert f'name="expected_version" value="{version}"' in html
        done = await client.post("/do/update_task", data={**form, "business_value": ""})
        again = await client.post("/do/update_task", data=form)

    assert (done.status_code, again.status_code) == (303, 409)
    assert (await bench.task("A")).priority == "critical"


@pytest.mark.requirement("DASH-2")
async def test_who_only_reads_is_offered_no_control(bench: Bench) -> None:
    await bench.create(a_task("A"))
    offered: dict[str, set[str]] = {}
    for who in (READER, a_visitor(Role.VIEWER, "vi"), OPERATOR):
        async with visiting(bench, who) as client:
            offered[who.name] = {*operations((await client.get("/tasks")).text)}

    assert offered == {"http": set(), "vi": set(), "pat": {"add", "update_task"}}


@pytest.mark.requirement("DASH-2")
async def test_a_task_is_added_on_the_page(bench: Bench) -> None:
    form = {"csrf": CSRF, "back": "/tasks", "title": "Write it", "epic_id": "", "priority": "high", "description": ""}

    async with visiting(bench, OPERATOR) as client:
        assert (await client.post("/do/add", data=form)).status_code == 303

    (task,) = (await bench.call("list_tasks", OWNER))["tasks"]
    assert (task["title"], task["priority"]) == ("Write it", "high")
