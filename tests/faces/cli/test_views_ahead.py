"""The critical path, the forecast and imports on a terminal."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from tests.support.bench import ANN, OWNER, Bench, a_task
from wvo_mcp.faces.cli.views import view

pytestmark = pytest.mark.anyio


def shown(name: str, result: dict[str, Any], width: int = 110) -> str:
    out = StringIO()
    Console(file=out, width=width, highlight=False).print(view(name, result))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines), default=0) <= width
    return "\n".join(line.rstrip() for line in lines)


async def test_the_path_and_the_forecast_are_shown_with_what_they_rest_on(bench: Bench) -> None:
    assert "Nothing is open" in shown("critical_path", await bench.call("critical_path"))
    assert "Nothing is open" in shown("forecast", await bench.call("forecast"))
    due = bench.clock.now() + timedelta(seconds=60)
    await bench.write(lambda tx: tx.tasks.put_milestone("M", {"title": "Soon", "due_at": due}))
    await bench.create(
        a_task("a", milestone_id="M", epic_id="E"), a_task("b", depends_on=["a"]), a_task("bad", max_attempts=1)
    )
    await bench.claim(ANN, "bad")
    await bench.call("fail_task", task_id="bad", error="no", retry=False)

    path = shown("critical_path", await bench.call("critical_path"))
    for part in ("2 of 3 open tasks", "Do b", "0 s", "1 of these are failed"):
        assert part in path
    found = shown("forecast", await bench.call("forecast", runs=20))
    for part in ("2 tasks, 1 more stuck", "3 agents, 20 runs", "Soon", "0%", "In danger", "around the clock"):
        assert part in found


async def test_an_import_is_shown_by_line_and_count(bench: Bench) -> None:
    told = await bench.call("import_tasks", OWNER, text="- [ ] T1: one\n- [x] two\n- [ ] [red]three\n", dry_run=True)
    text = shown("import_tasks", told)
    for part in ("markdown: 2 to be created, 0 there already; left out: 1 done", "T1", "[red]three"):
        assert part in text
    done = await bench.call("export_tasks", OWNER, path="plan.jsonl")
    assert "0 tasks, 0 epics and 0 milestones in plan.jsonl" in shown("export_tasks", done)
    running = {"handle": "h", "state": "running", "progress": 0.5, "note": "half", "hint": "Ask again."}
    for name in ("forecast", "import_tasks"):
        assert "half" in shown(name, running)
