"""The error tree: one class a code of the contract; a sentence for a person, a hint for an agent."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar


class WvoError(Exception):
    """Base of every error that a caller is shown.

    `code` and `retryable` are those of the contract; `hint` says what to do next; `details` is JSON-ready.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False
    hint: str = "Report it; the log line with this reference has the details."
    follow_up: Callable[[Any], Awaitable[object]] | None = None
    """To be done in a transaction of its own: that of the call is undone, and with it whatever it recorded."""

    def __init__(self, message: str, *, hint: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = details
        if hint is not None:
            self.hint = hint

    def payload(self) -> dict[str, Any]:
        """{code, message, retryable, hint, details}, as every face shows it."""
        return {
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
            "hint": self.hint,
            "details": self.details,
        }


class InvalidInput(WvoError):
    """A field is wrong; `details.field` names it, `details.problem` says what was expected."""

    code = "invalid_input"
    hint = "Correct the named field and call again."

    def __init__(self, field: str, problem: str, *, message: str | None = None, **details: Any) -> None:
        super().__init__(message or f"{field}: {problem}", field=field, problem=problem, **details)


class NotFound(WvoError):
    """Nothing has that id; `details.near` lists up to five ids that look like it."""

    code = "not_found"
    hint = "Use list_tasks to search."

    def __init__(
        self, kind: str, wanted: str, near: Sequence[str] = (), *, field: str | None = None, hint: str | None = None
    ) -> None:
        meant = f" Did you mean {', '.join(near)}?" if near else ""
        super().__init__(f"No {kind} {wanted!r}.{meant}", hint=hint, kind=kind, id=wanted, near=list(near))
        if field is not None:
            self.details["field"] = field


class IllegalTransition(WvoError):
    """The state machine has no such move."""

    code = "illegal_transition"
    hint = "Read the task with get_task; only the moves of its present status are possible."

    def __init__(self, task_id: str, origin: str, target: str, why: str = "", *, hint: str | None = None) -> None:
        reason = f" {why}" if why else ""
        super().__init__(
            f"Task {task_id} cannot move from {origin} to {target}.{reason}",
            hint=hint,
            **{"task_id": task_id, "from": origin, "to": target},
        )


class DependencyCycle(WvoError):
    """The dependency would close a circle; `details.path` walks it once round."""

    code = "dependency_cycle"
    hint = "Leave out one of the dependencies on the path."

    def __init__(self, path: Sequence[str]) -> None:
        super().__init__(f"This would create a dependency cycle: {' -> '.join(path)}.", path=list(path))


_ENDED = frozenset({"done", "failed", "cancelled"})
"""Reasons that do not pass by themselves."""


class NotReady(WvoError):
    """A named task cannot be claimed yet."""

    code = "not_ready"
    retryable = True
    hint = "Claim another task (claim_task without task_id) and come back later."

    def __init__(self, task_id: str, reason: str, waiting_for: Sequence[str] = (), **details: Any) -> None:
        waits = f": {', '.join(waiting_for[:5])}" if waiting_for else ""
        super().__init__(
            f"Task {task_id} is not ready ({reason}{waits}).",
            hint="Claim another task (claim_task without task_id)." if reason in _ENDED else None,
            task_id=task_id,
            reason=reason,
            waiting_for=list(waiting_for),
            **details,
        )


class AlreadyClaimed(WvoError):
    """A named task is held by another agent."""

    code = "already_claimed"
    retryable = True
    hint = "Claim another task (claim_task without task_id)."


class WipLimit(WvoError):
    """A named task cannot be claimed because a limit of work in progress is reached."""

    code = "wip_limit"
    retryable = True
    hint = "Finish or release what is in progress first."

    def __init__(self, scope: str, limit: int, holding: Sequence[Any] = ()) -> None:
        where = {"store": "store-wide", "agent": "per agent", "epic": "in its epic"}.get(scope, scope)
        tasks = "1 task" if limit == 1 else f"{limit} tasks"
        super().__init__(f"WIP limit reached: {tasks} in progress ({where}).", scope=scope, limit=limit)
        if holding:
            self.details["holding"] = list(holding)


class StaleLease(WvoError):
    """The caller no longer holds the task."""

    code = "stale_lease"
    hint = "Stop working on it; call claim_task for other work."

    def __init__(self, task_id: str, holder: str | None, *, unclaimed: str | None = None) -> None:
        """`unclaimed` is the status of a task that the caller never held."""
        held = f"held by {holder}" if holder else "no longer held by you"
        hint = None
        if unclaimed is not None:
            held = f"{unclaimed} and not claimed by you"
            hint = "Claim it first: claim_task with its task_id."
        super().__init__(
            f"Task {task_id} is {held}; this write changed nothing.", hint=hint, task_id=task_id, holder=holder
        )


class Conflict(WvoError):
    """The expected version differs, or an id exists already."""

    code = "conflict"
    hint = "Read the current state, then decide again."


class RequestIdReused(WvoError):
    """The same request_id came with another input."""

    code = "request_id_reused"
    hint = "Use a new request_id for every new call; repeat one only with the very same input."


class ReservationConflict(WvoError):
    """The task's files overlap with work in progress."""

    code = "reservation_conflict"
    retryable = True
    hint = "Claim another task, or wait until the named one is finished."


class Forbidden(WvoError):
    """Policy leaves this to people."""

    code = "forbidden"
    hint = "Ask the person who owns the roadmap."


class ApprovalRequired(WvoError):
    """A person has to decide first."""

    code = "approval_required"
    hint = "Ask the person who owns the roadmap to decide; take other work meanwhile."


class BudgetExhausted(WvoError):
    """No tokens are left in the window; `details.until` says when there will be."""

    code = "budget_exhausted"
    retryable = True
    hint = "Wait until the window ends, or ask a person to raise the budget."


class Paused(WvoError):
    """A person has paused the orchestration."""

    code = "paused"
    retryable = True
    hint = "Wait; finish what you hold. A person resumes it."


class StoreBusy(WvoError):
    """Other writers kept the database for longer than our retries last."""

    code = "store_busy"
    retryable = True
    hint = "Call again with the same input."


class StoreUnavailable(WvoError):
    """The database cannot be written or reached: full or read-only disk, missing rights."""

    code = "store_unavailable"
    retryable = True
    hint = "Nothing of this call was stored. Free disk space or fix its permissions (wvo-mcp doctor), then call again."


class IncompatibleStore(WvoError):
    """The database is newer than this program, damaged, or no database of ours."""

    code = "incompatible_store"
    hint = "Run wvo-mcp doctor; it names the remedy."


class NotConfigured(WvoError):
    """A part that this workspace does not use; the hint says how to turn it on."""

    code = "not_configured"


class Internal(WvoError):
    """A defect; `details.ref` matches a log line."""

    code = "internal"

    def __init__(self, ref: str) -> None:
        super().__init__(f"Internal error (ref {ref}). No changes were saved.", ref=ref)


def problem_of(item: Mapping[str, Any]) -> str:
    """What the validation library found in a field, for people: `11 must be less than or equal to 10`."""
    said = str(item["msg"]).removeprefix("Value error, ")
    plain = _SHOULD.sub("must", said).partition(", unable to parse string")[0].replace(" after validation", "")
    value = item.get("input")
    shown = plain != said and isinstance(value, str | int | float) and len(str(value)) <= 60
    return f"{value!r} {plain}" if shown else plain


_SHOULD = re.compile(r"^\w+ should\b")
