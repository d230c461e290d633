"""What of the project's rules and of its policy waits for a person becomes an alert."""

from functools import partial

from wvo_mcp.orchestration.leader import LeaderJob, LeaderTerm, settle_alerts
from wvo_mcp.ports.rules import ProjectRules
from wvo_mcp.ports.safety import Judge

TRUST_ROADMAP = "trust_roadmap"
TRUST_POLICY = "trust_policy"
POLICY_FILE = "policy_file"


def rules_check(rules: ProjectRules) -> LeaderJob:
    return LeaderJob(TRUST_ROADMAP, 0, partial(_check, rules))


async def _check(rules: ProjectRules, term: LeaderTerm) -> None:
    """A file that cannot be read has its own alert; what waited before waits then."""
    await rules.refresh()
    if rules.problem() is None:
        waits = rules.unaccepted()
        await settle_alerts(term, {TRUST_ROADMAP: None if waits is None else ("warning", waits)})


def policy_check(judge: Judge) -> LeaderJob:
    return LeaderJob(TRUST_POLICY, 0, partial(_check_policy, judge))


async def _check_policy(judge: Judge, term: LeaderTerm) -> None:
    await judge.refresh()
    waits, problem = judge.unaccepted(), judge.problem()
    broken = None if problem is None else f"{problem}. The last good version of the policy holds"
    found = {TRUST_POLICY: waits, POLICY_FILE: broken}
    await settle_alerts(term, {kind: None if text is None else ("warning", text) for kind, text in found.items()})
