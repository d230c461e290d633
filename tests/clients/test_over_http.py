"""Each client program works a task over `/mcp`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.models.script import Call, Say
from tests.clients.over_http import serving, wire
from tests.clients.programs import CLIENTS
from tests.clients.workspace import CORE_TOOLS, rows, seeded

pytestmark = [pytest.mark.clients, pytest.mark.requirement("DASH-5")]


@pytest.mark.parametrize("program", sorted(CLIENTS))
def test_a_client_lists_our_tools_in_its_first_turn_and_takes_a_task_to_done(
    program: str, tmp_path: Path, need: Callable[[str], None]
) -> None:
    need(program)
    client = CLIENTS[program](tmp_path)
    seeded(client.project)
    client.prepare()
    script = [
        Call("plan_next", {"limit": 3}),
        Call("claim_task", {"task_id": "PRICES"}),
        Call("checkpoint", {"task_id": "PRICES", "summary": "Rules are read", "next_steps": "apply them"}),
        Call("complete_task", {"task_id": "PRICES", "summary": "Rules are applied"}),
        Say("PRICES is done."),
    ]
    with serving(client.project, tmp_path) as site:
        wire(client, site.url)
        with client.model(script) as model:
            run = client.ask(model, "Work on the next task.")

    assert run.exit_code == 0, run.report()
    first, last = model.turns[0], model.turns[-1]
    assert model.tool_names(first.body) | model.announced_tools(first.body) == CORE_TOOLS
    outcomes = model.outcomes(last.body)
    assert not any(outcome.is_error for outcome in outcomes), outcomes
    assert rows(client.project, "SELECT status FROM tasks WHERE id = 'PRICES'") == [("done",)]
    assert rows(client.project, "SELECT provider FROM agent_pool") == [(client.name,)]
