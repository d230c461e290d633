"""Each client program takes a task from its first turn to `done`, and shows its model what went wrong."""

import pytest

from tests.clients.models.script import Call, Say, all_text
from tests.clients.programs import Client
from tests.clients.workspace import CORE_TOOLS, rows
from tests.support.waiting import eventually

pytestmark = pytest.mark.clients


@pytest.mark.requirement("CORE-13", "CORE-1")
def test_a_client_lists_our_tools_in_its_first_turn_and_takes_a_task_to_done(client: Client) -> None:
    script = [
        Call("plan_next", {"limit": 3}),
        Call("claim_task", {"task_id": "PRICES"}),
        Call("context_write", {"topic": "prices", "content": "Prices are kept in cents.", "task_id": "PRICES"}),
        Call("checkpoint", {"task_id": "PRICES", "summary": "Rules are read", "next_steps": "apply them"}),
        Call("complete_task", {"task_id": "PRICES", "summary": "Rules are applied", "artifacts": ["src/prices.py"]}),
        Say("PRICES is done."),
    ]
    with client.model(script) as model:
        run = client.ask(model, "Work on the next task.")

    assert run.exit_code == 0, run.report()
    first, last = model.turns[0], model.turns[-1]
    assert model.tool_names(first.body) | model.announced_tools(first.body) == CORE_TOOLS
    planned, claimed, _, _, completed = outcomes = model.outcomes(last.body)
    assert not any(outcome.is_error for outcome in outcomes), outcomes
    assert "PRICES" in planned.text
    assert '"expires_at"' in claimed.text
    assert "COUPONS" in completed.text, "the model is told which task is ready now"
    assert rows(client.project, "SELECT status FROM tasks WHERE id = 'PRICES'") == [("done",)]
    assert rows(client.project, "SELECT id FROM ready_tasks") == [("COUPONS",)]
    checkpoint = "SELECT summary, next_steps FROM checkpoints WHERE task_id = 'PRICES' ORDER BY seq LIMIT 1"
    assert rows(client.project, checkpoint) == [("Rules are read", "apply them")]
    entry = "SELECT version, content, task_id FROM context_entries WHERE topic = 'prices'"
    assert rows(client.project, entry) == [(1, "Prices are kept in cents.", "PRICES")]
    assert rows(client.project, "SELECT provider FROM agent_pool") == [(client.name,)]


@pytest.mark.requirement("CORE-13", "CORE-7")
@pytest.mark.parametrize(
    "client", ["claude", *(pytest.param(one, marks=pytest.mark.full) for one in ("codex", "gemini"))], indirect=True
)
def test_a_typed_error_reaches_the_model_with_its_code_and_what_to_do(client: Client) -> None:
    script = [Call("claim_task", {"task_id": "PRICE"}), Say("There is no such task.")]
    with client.model(script) as model:
        run = client.ask(model, "Take the task PRICE.")

    assert run.exit_code == 0, run.report()
    [refused] = model.outcomes(model.turns[-1].body)
    assert refused.is_error is not False
    assert "not_found" in refused.text
    assert "hint" in refused.text.lower()
    assert "PRICES" in refused.text, "the near match is in what the model reads"
    assert rows(client.project, "SELECT count(*) FROM tasks WHERE status <> 'pending'") == [(0,)]


@pytest.mark.requirement("CORE-13")
def test_claude_loads_the_tools_of_every_task_at_once_and_announces_the_others(claude: Client) -> None:
    with claude.model([Say("Nothing to do.")]) as model:
        run = claude.ask(model, "Say hello.")

    assert run.exit_code == 0, run.report()
    first = model.turns[0].body
    loaded = model.tool_names(first)
    assert {"plan_next", "claim_task", "checkpoint", "complete_task"} <= loaded
    assert 3 <= len(loaded) <= 6
    assert model.announced_tools(first) == CORE_TOOLS - loaded
    [started] = [event for event in run.events if event.get("subtype") == "init"]
    assert {(server["name"], server["status"]) for server in started["mcp_servers"]} == {("wvo", "connected")}


@pytest.mark.requirement("CORE-14")
def test_claude_is_reminded_of_the_task_that_it_still_holds_when_it_wants_to_stop(claude: Client) -> None:
    with claude.model([Call("claim_task", {"task_id": "PRICES"}), Say("That is all.")]) as model:
        run = claude.ask(model, "Work on the next task.")

    assert run.exit_code == 0, run.report()
    claiming, stopping, reminded = (all_text(turn.body["messages"]) for turn in model.turns)
    assert "still hold PRICES" not in claiming + stopping
    assert "still hold PRICES" in reminded


@pytest.mark.requirement("PROV-3")
def test_what_claude_used_is_counted_when_it_stops(claude: Client) -> None:
    script = [
        Call("claim_task", {"task_id": "PRICES"}),
        Call("complete_task", {"task_id": "PRICES", "summary": "Rules are applied"}),
        Say("PRICES is done."),
    ]
    with claude.model(script) as model:
        run = claude.ask(model, "Work on the next task.")

    assert run.exit_code == 0, run.report()
    used = "SELECT provider, agent_id LIKE 'claude-code-%', sum(tokens_in), sum(tokens_out) FROM usage GROUP BY 1, 2"
    # The scripted model states 10 tokens in and 5 out for each of its three answers.
    found = eventually(lambda: rows(claude.project, used), seconds=60)
    assert found == [("claude", 1, 30, 15)]
