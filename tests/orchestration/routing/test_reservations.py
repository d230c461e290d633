"""Whatever becomes of tasks, what is reserved of each provider is what their running attempts reserve: nothing leaks."""

import random
from dataclasses import replace
from typing import Any

import pytest

from tests.support.bench import OWNER, Bench, a_task
from tests.support.providers import USUAL, FixedProviders
from tests.support.sessions import an_agent
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.providers.catalogue import Limits, Mode
from wvo_mcp.errors import WvoError

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("PROV-3")]

OUTCOMES = ("ok", "rate_limit", "quota", "outage", "refusal", "capacity", "permission", None)
ROADMAP = "epics:\n  - id: E\n    title: E\n    tasks:\n"
SUMS = """
SELECT (SELECT coalesce(sum(tokens), 0) FROM provider_reserved) AS kept,
  (SELECT coalesce(sum(reserved), 0) FROM task_routes) AS held,
  (SELECT coalesce(sum(attempts), 0) FROM provider_reserved) AS attempts,
  (SELECT count(*) FROM task_routes WHERE ended_at IS NULL) AS running,
  (SELECT count(*) FROM tasks WHERE status = 'in_progress') AS in_progress,
  (SELECT count(*) FROM provider_reserved WHERE tokens < 0 OR attempts < 0) AS negative,
  (SELECT count(*) FROM task_routes AS r JOIN tasks AS t ON t.id = r.task_id
   WHERE (r.ended_at IS NULL) <> (t.status = 'in_progress') OR (r.ended_at IS NULL AND r.lease_token <> t.lease_token)
     OR (r.ended_at IS NOT NULL AND r.reserved <> 0)) AS wrong,
  (SELECT coalesce(sum(tokens), 0) FROM usage) AS used,
  (SELECT coalesce(sum(tokens), 0) FROM usage_minutes) AS by_minute,
  (SELECT coalesce(sum(tokens), 0) FROM usage_days) AS by_day,
  (SELECT count(*) FROM breakers AS b WHERE probe_task IS NOT NULL AND state <> 'half_open') AS astray
"""


class Life:
    """Steps drawn by lot, refusals included: most of them are about tasks in a state that does not allow it."""

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench = bench
        self.lot = random.Random(seed)
        self.agents = {name: an_agent(name) for name in ("ann", "bob", "cy")}
        limits = Limits(300_000, 2_000_000)
        providers = tuple(replace(one, limits=limits) for one in USUAL.providers)
        self.full = replace(USUAL, providers=providers, count_unreported=seed % 2 == 0, task_limits=Limits(400_000))
        self.machine = FixedProviders(self.full)
        bench.services = replace(bench.services, providers=self.machine)
        bench.limits(wip_limit=8, agent_wip_limit=4)
        self.steps = (
            *(self.claim,) * 5, *(self.report,) * 4, *(self.leave,) * 3, *(self.people,) * 3, self.sync, self.die,
            self.wait, self.wait, self.edit, self.mode,
        )  # fmt: skip

    def a_task(self) -> str:
        return f"{self.lot.choice('TR')}{self.lot.randrange(6)}"

    def an_agent(self) -> Caller:
        return self.lot.choice(list(self.agents.values()))

    async def claim(self) -> object:
        named = {"task_id": self.a_task()} if self.lot.random() < 0.5 else {}
        return await self.bench.call("claim_task", self.an_agent(), lease_seconds=self.lot.choice((60, 900)), **named)

    async def report(self) -> object:
        told: dict[str, Any] = {
            "task_id": self.a_task(),
            "provider": self.lot.choice((None, "claude", "ollama")),
            "lease_token": self.lot.choice((None, None, 1, 2, 2**62)),
            "outcome": self.lot.choice(OUTCOMES),
            "tokens_out": self.lot.choice((None, 0, 1, 5_000, 10**12)),
            "retry_after": self.lot.choice((None, 30)),
            "request_id": self.lot.choice((None, "again")),
        }
        return await self.bench.call("provider_report", self.an_agent(), **told)

    async def leave(self) -> object:
        how = self.lot.choice(("complete_task", "fail_task", "release_task", "block_task"))
        more = {
            "complete_task": {"summary": "done"},
            "fail_task": {"error": self.lot.choice(("broken", "API Error: 529 overloaded"))},
            "block_task": {"reason": "why"},
        }
        return await self.bench.call(how, self.an_agent(), task_id=self.a_task(), **more.get(how, {}))

    async def people(self) -> object:
        verb = self.lot.choice(("cancel", "unblock", "retry", "reopen", "restore", "restore"))
        return await self.bench.call(verb, OWNER, task_id=self.a_task(), reason="so")

    async def sync(self) -> object:
        names = [f"R{n}" for n in range(6) if self.lot.random() < 0.7]
        states = [self.lot.choice(("", ", status: cancelled", ", status: blocked", ", status: pending")) for _ in names]
        lines = [f"      - {{id: {name}, title: {name}{state}}}\n" for name, state in zip(names, states, strict=True)]
        self.bench.roadmap.write_text(ROADMAP + ("".join(lines) or "      []\n"))
        return await self.bench.call("roadmap_sync", OWNER)

    async def die(self) -> None:
        """A server is killed; the agent comes back in another session."""
        name = self.lot.choice(list(self.agents))
        self.bench.servers.kill(self.agents[name].session_id)
        self.agents[name] = an_agent(name, f"{name}/{self.lot.randrange(10**9)}")

    async def wait(self) -> None:
        self.bench.clock.advance(seconds=self.lot.choice((1, 61, 1_000, 40_000)))

    async def edit(self) -> None:
        """Providers, and tiers of them, come and go in the file."""
        kept = [one for one in self.full.providers if self.lot.random() < 0.8]
        cut = [replace(one, tiers=dict(list(one.tiers.items())[: self.lot.randint(1, 3)])) for one in kept]
        self.machine.catalogue = replace(self.full, providers=tuple(cut))

    async def mode(self) -> object:
        return await self.bench.call("routing_mode", OWNER, mode=self.lot.choice(list(Mode)).value)


@pytest.mark.parametrize("seed", range(2))
async def test_what_is_reserved_is_what_running_attempts_reserve(bench: Bench, seed: int) -> None:
    life = Life(bench, seed)
    await bench.create(*(a_task(f"T{n}", complexity=1 + 3 * (n % 3)) for n in range(6)))
    done: dict[str, int] = {}
    for number in range(220):
        step = life.lot.choice(life.steps)
        try:
            await step()
        except WvoError as error:
            done[error.code] = done.get(error.code, 0) + 1
            assert error.code != "internal"
        else:
            done[step.__name__] = done.get(step.__name__, 0) + 1
        row = (await bench.sql(SUMS))[0]
        assert (row["kept"], row["attempts"]) == (row["held"], row["running"]), (number, step.__name__)
        assert (row["negative"], row["wrong"], row["astray"]) == (0, 0, 0), (number, step.__name__)
        assert row["used"] == row["by_minute"] == row["by_day"], (number, step.__name__)
        assert row["running"] <= row["in_progress"]
    assert min(done.get(step.__name__, 0) for step in life.steps) > 3, done
