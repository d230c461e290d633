"""Weighted shortest job first (contract, section 4): cost of delay over size.

Source of the idea: D. Reinertsen, The Principles of Product Development Flow (2009), and SAFe's three-part cost of
delay (business value + time criticality + opportunity enablement) / job size.
"""

import math
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from wvo_mcp.domain.task import Priority

UNLOCK_CAP = 1023
"""log2(1 + 1023) = 10: more dependents than this change nothing, so counting stops here."""

PRIORITY_VALUE = {Priority.CRITICAL: 15.0, Priority.HIGH: 10.0, Priority.MEDIUM: 5.0, Priority.LOW: 1.0}


class Why(BaseModel):
    """The parts of a score; score = (business_value + time_criticality + unlock_value) / complexity."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    business_value: float
    time_criticality: float
    unlock_value: float
    complexity: int

    @property
    def score(self) -> float:
        return round((self.business_value + self.time_criticality + self.unlock_value) / self.complexity, 4)

    def rounded(self) -> "Why":
        """The same with every part at 4 places, for showing."""
        return Why(
            business_value=round(self.business_value, 4),
            time_criticality=round(self.time_criticality, 4),
            unlock_value=round(self.unlock_value, 4),
            complexity=self.complexity,
        )


def time_criticality(due_at: datetime | None, now: datetime) -> float:
    """10 / (1 + days_left / 7), days fractional and never below 0; 0 without a due date."""
    if due_at is None:
        return 0.0
    days_left = max(0.0, (due_at - now).total_seconds() / 86_400)
    return 10 / (1 + days_left / 7)


def unlock_value(waiting: int) -> float:
    """min(10, log2(1 + number of not yet settled tasks that depend on it, directly or not))."""
    return min(10.0, math.log2(1 + waiting))


def explain(
    *,
    priority: Priority,
    business_value: float | None,
    complexity: int,
    unlock_count: int,
    due_at: datetime | None,
    now: datetime,
) -> Why:
    """The parts of the score of a task with these attributes at `now`."""
    return Why(
        business_value=PRIORITY_VALUE[priority] if business_value is None else business_value,
        time_criticality=time_criticality(due_at, now),
        unlock_value=unlock_value(unlock_count),
        complexity=complexity,
    )
