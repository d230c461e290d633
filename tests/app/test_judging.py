"""A model without tools in a whole autopilot: it reads what others changed, and its answer ends the task."""

import json
from typing import Any

import pytest

from tests.execution.agents.test_local import GOOD, said, serving
from tests.support.flights import Flight, does
from wvo_mcp.execution.providers import presence

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("WORK-2")]

LOCAL = """\
  mine:
    kind: ollama
    base_url: {url}
    tiers:
      low: {{model: judge, cost: {{input: 0, output: 0}}}}
      high: {{model: judge, cost: {{input: 0, output: 0}}}}
"""


async def seen(run: Any) -> None:
    """The server is found before anything is claimed."""
    await run.parts.providers.look()


async def test_a_local_model_reviews_what_was_changed_and_its_answer_is_the_evidence(
    flight: Flight, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "LOOK_SECONDS", 60.0)  # however busy the machine is
    with serving(said(GOOD)) as server:
        flight.begin(
            {"A": [], "R": ["A"]}, {"A": [does("A")]}, types={"R": "review"}, providers=LOCAL.format(url=server.url)
        )
        await flight.fly(seen)
        told = server.asked[0]["messages"][-1]["content"]

    assert flight.statuses() == {"A": "done", "R": "done"}
    assert "+work of A" in told
    workers = flight.sql("SELECT task_id, provider, outcome, tokens_in, pid FROM workers ORDER BY seq")
    assert [(one["task_id"], one["provider"], one["outcome"]) for one in workers] == [
        ("A", "scripted", "completed"),
        ("R", "mine", "completed"),
    ]
    assert (workers[1]["tokens_in"], workers[1]["pid"]) == (30, None)
    [event] = flight.sql("SELECT data FROM events WHERE kind = 'task.completed' AND task_id = 'R'")
    assert "Rounds the wrong way." in event["data"]
    json.loads(event["data"])
