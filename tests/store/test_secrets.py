"""What quotes programs and providers is redacted by the store itself, whoever writes it; what agents write is not."""

import secrets

import pytest

from tests.support.bench import ANN, Bench, a_task
from wvo_mcp.domain.providers.breaker import Breaker, BreakerState
from wvo_mcp.domain.task import Status
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.providers import Spent

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SAFE-3")]


async def test_reasons_errors_evidence_and_names_are_redacted_and_content_is_not(bench: Bench) -> None:
    key = "ghp_" + secrets.token_hex(18)
    said = f"push with {key} refused; password=hunter22"
    await bench.create(a_task("A", description=said), a_task("B"), a_task("C"))
    await bench.call("context_write", topic="t", content=said)

    async def write(tx: Transaction) -> None:
        await tx.alerts.raise_alert("odd", "critical", None, said, {"stderr": [said], "api_key": "abcdefgh12345"})
        opened = Breaker("claude", "", BreakerState.OPEN, "auth", 1, tx.now, reason=said)
        await tx.routing.put_breaker(opened)
        await tx.routing.allow("provider", "claude", "hour", 5, tx.now, said)
        await tx.routing.record(Spent("ann", "claude", "low", key, 5))
        state = {"provider": "claude", "state": "open", "used": 1, "capacity": None, "resets_at": None, "reason": said}
        await tx.routing.put_states([state])
        task = await tx.tasks.get("C")
        await lifecycle.move(tx, task, Status.BLOCKED, "task.blocked", {"blocked_reason": said}, {"reason": said})

    await bench.claim(ANN, "A")
    await bench.call("fail_task", task_id="A", error=said)
    await bench.write(write)

    shown = "push with [redacted] refused; password=[redacted]"
    assert (await bench.task("A")).last_error == shown
    assert (await bench.task("C")).blocked_reason == shown
    (alert,) = await bench.sql("SELECT message, evidence FROM alerts WHERE kind = 'odd'")
    assert alert["message"] == shown
    for table in ("breakers", "budget_raises", "usage", "provider_states", "events", "alerts"):
        assert key not in str(await bench.sql(f"SELECT * FROM {table}")), table
    assert "abcdefgh12345" not in str(alert) and "hunter22" not in str(alert)
    assert (await bench.task("A")).description == said
    assert said in str(await bench.call("context_read", topic="t"))
