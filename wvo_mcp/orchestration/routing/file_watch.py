"""What is wrong with providers.yaml, or waits for a person, becomes an alert, and its end the end of the alert."""

from functools import partial

from wvo_mcp.errors import InvalidInput
from wvo_mcp.orchestration.leader.chores import LeaderJob
from wvo_mcp.orchestration.leader.leading import LeaderTerm
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.providers import Providers

KIND = "providers_file"
TRUST = "trust"


def chore(providers: Providers) -> LeaderJob:
    return LeaderJob(KIND, 0, partial(_look, providers))


async def _look(providers: Providers, term: LeaderTerm) -> None:
    """Critical while there is no good version at all, for then nothing is given to anybody."""
    await providers.refresh()
    problem, unaccepted = providers.problem(), providers.unaccepted()
    severity = _severity(providers)
    untrusted = unaccepted is not None and problem == f"{unaccepted}."  # nothing else is wrong with the file
    broken = None if problem is None or untrusted else (severity, _message(problem, severity))
    await _show(term, KIND, broken)
    await _show(term, TRUST, None if unaccepted is None else (severity if untrusted else "warning", unaccepted))


async def _show(term: LeaderTerm, kind: str, alert: tuple[str, str] | None) -> None:
    """The open alert of the kind says this, or there is none."""

    async def open_one(tx: Transaction) -> tuple[str, str] | None:
        row = await tx.alerts.find(kind, None)
        return None if row is None else (row["severity"], row["message"])

    async def write(tx: Transaction) -> None:
        if alert is None:
            await tx.alerts.resolve_alert(kind, None)
        else:
            await tx.alerts.raise_alert(kind, alert[0], None, alert[1])

    if await term.read(term.caller, open_one) != alert:
        await term.write(term.caller, write)


def _severity(providers: Providers) -> str:
    try:
        providers.current()
    except InvalidInput:
        return "critical"
    return "warning"


def _message(problem: str, severity: str) -> str:
    so = "the last good version is used" if severity == "warning" else "no task can be claimed until it is fixed"
    return f"{problem[:1_800].rstrip('.')} ({so})"
