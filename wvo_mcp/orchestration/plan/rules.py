"""What of the project's rules waits for a person becomes an alert."""

from functools import partial

from wvo_mcp.orchestration.leader import LeaderJob, LeaderTerm, settle_alerts
from wvo_mcp.ports.rules import ProjectRules

TRUST_ROADMAP = "trust_roadmap"


def rules_check(rules: ProjectRules) -> LeaderJob:
    return LeaderJob(TRUST_ROADMAP, 0, partial(_check, rules))


async def _check(rules: ProjectRules, term: LeaderTerm) -> None:
    """A file that cannot be read has its own alert; what waited before waits then."""
    await rules.refresh()
    if rules.problem() is None:
        waits = rules.unaccepted()
        await settle_alerts(term, {TRUST_ROADMAP: None if waits is None else ("warning", waits)})
