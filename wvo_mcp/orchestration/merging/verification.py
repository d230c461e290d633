"""What the project's commands say of a candidate; what they passed once is not run again for the same tree."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta

from wvo_mcp.domain.merging import UNVERIFIED, VERIFIED
from wvo_mcp.domain.rules import Rules
from wvo_mcp.orchestration.leader import LeaderTerm
from wvo_mcp.ports.merging import Candidate, Repository, Verdict

_KEPT = timedelta(days=30)


def commands_hash(rules: Rules, commands: Sequence[str]) -> str:
    """Of all that the answer depends on besides the tree."""
    said = json.dumps([list(commands), rules.setup, sorted(rules.env)])
    return hashlib.sha256(said.encode()).hexdigest()


async def verified(
    term: LeaderTerm, repository: Repository, candidate: Candidate, rules: Rules, commands: Sequence[str]
) -> tuple[str, Verdict]:
    """`verified` or `unverified` for the entry, and what was said. Only what passed is kept: a red verification may be an
    accident, and its agent tries again. Raises NotNow, Overtaken."""
    if not commands:
        return UNVERIFIED, Verdict(passed=True, took_ms=0)
    key = commands_hash(rules, commands)
    known = await term.read(term.caller, lambda tx: tx.verifications.find(candidate.tree, key))
    if known is not None and known["passed"]:
        return VERIFIED, Verdict(passed=True, took_ms=known["took_ms"], log=known["verdict"].get("log"))
    verdict = await repository.verify(
        candidate, commands, seconds=rules.verify_timeout, setup=rules.setup, names=rules.env
    )
    if verdict.passed:
        said = asdict(verdict)
        await term.write(
            term.caller,
            lambda tx: tx.verifications.put(
                candidate.tree, key, passed=True, took_ms=verdict.took_ms, verdict={"log": said["log"]}
            ),
        )
        await term.write(term.caller, lambda tx: tx.verifications.forget(tx.now - _KEPT))
    return VERIFIED, verdict
