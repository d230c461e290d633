"""`wvo-mcp command-check --hook CLIENT`: judges what an agent of a person is about to do, before it does it.

The client starts it before a tool is used and waits for it, so it imports as little as it can. It answers only to refuse or
to ask; whatever goes wrong it stays silent, and the client's own rules decide, as they do without it.
"""

import json
import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, cast

if TYPE_CHECKING:
    from wvo_mcp.domain.policy import Judgement
    from wvo_mcp.faces.cli.session import Compose

CLIENTS = ("claude", "codex", "gemini")
_MAX_BYTES = 4_000_000
_COMMAND = ("command", "cmd")
_PATHS = ("file_path", "notebook_path", "absolute_path")
_ADDED = "*** "


def answer(client: str, stdin: BinaryIO, stdout: TextIO, compose: "Compose | None" = None) -> int:
    """Read the hook's input, print the answer in the client's form where there is something to say, and record it where the
    project has a store. Always 0."""
    with suppress(Exception):  # see above: never in the way of the client
        fields: Any = json.loads(stdin.read(_MAX_BYTES))
        judged = _judged(fields.get("tool_input") or {}, str(fields.get("cwd") or Path.cwd()))
        said = None if judged is None else _said(client, judged)
        if said is not None:
            stdout.write(json.dumps(said) + "\n")
            stdout.flush()
        if judged is not None and judged.verdict.name != "ALLOW" and compose is not None:
            _record(client, fields, judged, compose)
    return 0


def _record(client: str, fields: dict[str, Any], judged: "Judgement", compose: "Compose") -> None:
    """In a process of its own: the client waits for nothing. What a worker does is recorded by its autopilot."""
    from wvo_mcp.faces.cli.stop_hook import agent_of, apart
    from wvo_mcp.project import Project

    cwd, session = Path(str(fields.get("cwd") or Path.cwd())), str(fields.get("session_id") or "")
    project = Project(os.environ, str(cwd))
    stored = project.environ.get("WVO_DATABASE_URL") or (Path(project.state_dir) / "state.db").exists()
    if "WVO_WORKER_KEY" in os.environ or not stored:
        return
    agent_id = os.environ.get("WVO_AGENT_ID") or (agent_of(session) if client == "claude" and session else client)

    def recorded() -> None:
        import anyio  # the hook itself starts without these

        from wvo_mcp.ports.workers import Violation
        from wvo_mcp.settings import load

        kind = "command" if any(fields["tool_input"].get(name) for name in _COMMAND) else "path"
        violation = Violation(kind, judged.verdict.name.lower(), judged.rule, judged.subject[:4_000])
        anyio.run(compose().record_violation, load(cwd), agent_id, violation)

    apart(recorded)


def _said(client: str, judged: "Judgement") -> dict[str, Any] | None:
    denied = judged.verdict.name == "DENY"
    if not denied and judged.verdict.name != "ASK":
        return None
    if client == "gemini":
        return {"decision": "deny" if denied else "ask", "reason": judged.reason}
    if client == "codex" and not denied:
        return {"systemMessage": judged.reason}  # it knows no question here; its own approvals ask
    decision = {"permissionDecision": "deny" if denied else "ask", "permissionDecisionReason": judged.reason}
    return {"hookSpecificOutput": {"hookEventName": "PreToolUse", **decision}}


def _judged(given: dict[str, Any], cwd: str) -> "Judgement | None":
    command = next((given[name] for name in _COMMAND if given.get(name)), None)
    paths = [str(given[name]) for name in _PATHS if given.get(name)]
    if isinstance(command, list):
        words = [str(one) for one in cast("list[Any]", command)]
        command = words[-1] if words[-1].startswith("*** Begin Patch") else shlex.join(words)
    if isinstance(command, str) and command.startswith("*** Begin Patch"):
        paths += [line.partition(": ")[2] for line in command.splitlines() if line.startswith(_ADDED) and ": " in line]
        command = None
    if not isinstance(command, str) and not paths:
        return None
    # Only what is judged pays for these.
    from wvo_mcp.execution.clock import SystemClock
    from wvo_mcp.execution.safety.judge import PolicyJudge
    from wvo_mcp.execution.trust import Trust
    from wvo_mcp.project import Project

    project = Project(os.environ, cwd)
    root = Path(project.root)
    judge = PolicyJudge(
        Path(project.state_dir) / "policy.yaml", Trust(os.environ, root), SystemClock(), root, os.environ
    )
    judge.read_changes()
    folder, workspace = judge.around(cwd)
    if isinstance(command, str):
        return judge.command(command, folder, workspace, attended=True)
    return judge.paths(paths, folder, workspace, writes=True)
