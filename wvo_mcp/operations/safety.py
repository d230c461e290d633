"""The toolset `execution`: what the policy says of a command before it is run."""

from typing import Literal

from pydantic import Field

from wvo_mcp.domain.text import Prose
from wvo_mcp.operations.inputs import Input, OrNull, Output
from wvo_mcp.operations.operation import Context, Effect, operation
from wvo_mcp.ports.safety import Judge


class CommandCheck(Input):
    command: Prose = Field(description="Shell command, exactly as it would be run.")
    cwd: str | None = Field(default=None, max_length=4_096, description="Folder that it would be run in.")


class CommandChecked(Output):
    verdict: Literal["allow", "watch", "ask", "deny"] = Field(description="ask: only after a person agreed.")
    rule: OrNull = Field(default=None, description="What decided it.")
    reason: OrNull = None
    part: OrNull = Field(default=None, description="The part of the command that it is about.")
    problem: OrNull = Field(default=None, description="What is wrong with state/policy.yaml.")


@operation(toolset="execution", effect=Effect.READ, manages_own_transactions=True)
async def command_check(ctx: Context, params: CommandCheck, judge: Judge) -> CommandChecked:
    """Check a shell command against the safety policy without running it: call it before a command that may be refused.
    Answers allow, watch (allowed and recorded), ask (needs approval_request) or deny, with the reason.
    """
    await judge.refresh()
    cwd, workspace = judge.around(params.cwd)
    judged = judge.command(params.command, cwd, workspace, attended=ctx.caller.admitted is None)
    rule = None if judged.rule == "default" else judged.rule
    return CommandChecked(
        verdict=judged.verdict.name.lower(),  # type: ignore[arg-type]
        rule=rule,
        reason=judged.reason,
        part=judged.subject[:500],
        problem=judge.problem(),
    )
