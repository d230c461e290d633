"""The alert of files that do not keep to the policy: open until none of them is left, or the task is done or cancelled."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wvo_mcp.ports import Transaction

if TYPE_CHECKING:
    from wvo_mcp.domain.validation import Finding

KIND = "violation"
"""Also of requests of a worker that were refused: `worker_id` in the evidence. Such an alert is closed by people only."""
_MOST = 2_000


async def found(
    tx: Transaction, task_id: str, severity: str, text: str, checkpoint: int, of: "Sequence[Finding]"
) -> None:
    from wvo_mcp.domain.validation import shown  # who ends one needs no policy

    known = await tx.alerts.find(KIND, task_id)
    refused = {} if known is None else {name: known["evidence"].get(name) for name in ("worker_id", "rule")}
    evidence = {
        **{name: value for name, value in refused.items() if value is not None},
        "checkpoint": checkpoint,
        "rules": sorted({one.rule for one in of}),
        "files": [shown(one.path) for one in of][:100],
    }
    await tx.alerts.raise_alert(KIND, severity, task_id, text[:_MOST], evidence)


async def over(tx: Transaction, task_id: str) -> None:
    known = await tx.alerts.find(KIND, task_id)
    if known is not None and "checkpoint" in known["evidence"] and "worker_id" not in known["evidence"]:
        await tx.alerts.resolve_alert(KIND, task_id)
