"""What an entry asks of git, and what its agent is told when that cannot land."""

from collections.abc import Mapping
from typing import Any

from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.merging import Entry, EntryKind
from wvo_mcp.domain.rules import Rules
from wvo_mcp.domain.task import Task
from wvo_mcp.ports.merging import Conflicting, Failing, Landing, NotNow, Verdict

Row = dict[str, Any]
_SHOWN = 50
_MOST_TAIL = 4_000


def landing_of(entry: Entry, task: Task, rules: Rules) -> Landing:
    """Raises NotNow."""
    if rules.merge is None:
        raise NotNow("merge is off in roadmap.yaml")
    return Landing(
        entry_id=entry["entry_id"],
        task_id=entry["task_id"],
        title=task.title,
        target=entry["target"],
        commit=entry["commit_sha"],
        base=entry["base_sha"],
        number=entry["number"],
        made_at=instant(entry["created_at"]),
        policy=rules.merge.policy,
        mode=rules.merge.mode,
        undo=entry["kind"] == EntryKind.REVERT,
    )


def told_of_conflict(entry: Row, conflict: Conflicting) -> tuple[str, dict[str, Any]]:
    """The text for the agent, and the findings."""
    paths = [path.encode(errors="replace").decode() for path in conflict.paths[:_SHOWN]]
    told = (
        f"{entry['entry_id']} could not land: it conflicts with {entry['target']} in {', '.join(paths)}. Resolve that in the"
        " worktree, keeping what each side meant, and complete the task again."
    )
    return told, {"paths": paths, "tip": conflict.tip, "texts": dict(conflict.texts)}


def told_of_red(entry: Row, verdict: Verdict) -> tuple[str, dict[str, Any]]:
    how = "ran out of time" if verdict.exit_code is None else f"ended with code {verdict.exit_code}"
    told = (
        f"{entry['entry_id']} could not land: on top of {entry['target']} the command `{verdict.command}` {how}. Mend it, and"
        f" complete the task again. What it said:\n{verdict.tail}"
    )
    return told, {name: getattr(verdict, name) for name in ("command", "exit_code", "tail", "log")}


def told_of_checks(entry: Row, failing: Failing) -> tuple[str, dict[str, Any]]:
    tail = _tail(failing.checks)
    told = (
        f"{entry['entry_id']} could not land: checks of its pull request {failing.pull_request} did not pass. Mend it, and"
        f" complete the task again; that opens another pull request. What they said:\n{tail}"
    )
    return told, {"checks": list(failing.checks)[:_SHOWN], "tail": tail}


def _tail(checks: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {said}" if said else name for name, said in checks.items())[:_MOST_TAIL]
