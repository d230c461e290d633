"""Work of those who only answer: the answer, as JSON, is the result of the task."""

import json
from typing import Any

from wvo_mcp.domain.task import Task
from wvo_mcp.domain.worker import Outcome
from wvo_mcp.orchestration.pool.ending import Act, End
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.ports import Transaction


async def complete_with_answer(tx: Transaction, task: Task, text: str) -> End:
    """A review that found something is done as well: what it found is the evidence."""
    try:
        answer: Any = json.loads(text)
        summary = str(answer["summary"])
    except (ValueError, KeyError, TypeError):
        return End(Outcome.FAILED, "its answer was not as asked for", Act.FAIL)
    await lifecycle.complete(tx, task, summary[:16_000], [], [json.dumps(answer, ensure_ascii=False)[:16_000]])
    return End(Outcome.COMPLETED, summary[:300])
