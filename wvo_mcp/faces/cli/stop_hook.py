"""`wvo-mcp stop-hook`: reminds an agent that is about to stop of the task it holds and the questions that wait for it.

The client starts it at the end of every turn and waits for it, so it imports as little as it can, and whatever goes
wrong it stays silent: a hook that fails would disturb an agent that has nothing to do with us. What a turn used is counted
by a process of its own, so that the client waits for nothing.
"""

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from wvo_mcp.domain.agent import short

if TYPE_CHECKING:
    import click

    from wvo_mcp.faces.cli.session import Compose
    from wvo_mcp.store.sqlite.read_only import Asked, Held

MAX_BYTES = 4_000_000
SECONDS = 120
"""Then the count is ended; the next turn counts what is left."""
CLIENT = "claude-code"
"""The name that Claude Code gives itself as an MCP client; the server's agents are named by it and the session."""


def answer(stdin: BinaryIO, stdout: TextIO, compose: "Compose | None" = None) -> int:
    """Read the hook's input, print {decision, reason} where the agent holds a task or owes an answer and was not reminded
    yet, and count what the turn used. Always 0."""
    with suppress(Exception):  # see above: never in the way of the client
        fields: Any = json.loads(stdin.read(MAX_BYTES))
        session = fields.get("session_id")
        agent_id = os.environ.get("WVO_AGENT_ID") or (agent_of(str(session)) if session else None)
        if agent_id is None or fields.get("hook_event_name", "Stop") != "Stop":
            return 0
        with suppress(Exception):
            if not fields.get("stop_hook_active"):  # once for each stop
                _remind(stdout, agent_id, Path(str(fields.get("cwd") or Path.cwd())))
        if compose is not None:
            count_apart(fields, agent_id, compose)
    return 0


def stop_hook_command(_compose: "Compose") -> "click.Command":
    import click  # the hook itself starts without it

    return click.Command(
        "stop-hook",
        help="For the client, not for people: reads the JSON of a Stop hook on stdin and answers with a reminder when the"
        " agent that wants to stop still holds a task; counts the tokens of the transcript that it names into the budgets."
        " wvo-mcp init --claude installs it.",
        short_help="Remind a stopping agent of its task and count its tokens (for clients).",
        callback=lambda: answer(sys.stdin.buffer, sys.stdout),
    )


def _remind(stdout: TextIO, agent_id: str, cwd: Path) -> None:
    # Only an agent that may hold something pays for these.
    from wvo_mcp.project import Project

    project = Project(os.environ, str(cwd))
    url = project.environ.get("WVO_DATABASE_URL")
    held: list[Held] = []
    asked: list[Asked] = []
    if url:
        from wvo_mcp.store.postgres import doctor_checks as postgres_examination

        held = postgres_examination.held_by(url, agent_id)
        with suppress(Exception):  # a store of an earlier version has no messages
            asked = postgres_examination.asked_of(url, agent_id)
    else:
        from wvo_mcp.store.sqlite.read_only import asked_of, held_by

        path = Path(project.state_dir) / "state.db"
        held = held_by(path, agent_id)
        with suppress(Exception):
            asked = asked_of(path, agent_id)
    reasons = [_reminder(held)] if held else []
    if reasons or asked:
        reason = " ".join([*reasons, *map(_question, asked)])
        stdout.write(json.dumps({"decision": "block", "reason": reason}) + "\n")
        stdout.flush()


def _question(asked: "Asked") -> str:
    """Its words as a quotation, so that they pass for nobody else's."""
    return (
        f"{asked.sender} waits for your answer to {asked.id}: {json.dumps(asked.body, ensure_ascii=False)}"
        f" Answer it with message_send (answers {asked.id})."
    )


def agent_of(session: str) -> str:
    """The agent that Claude Code's server works as in this session."""
    name = f"{CLIENT}-{short(session)}"
    if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
        return name
    from wvo_mcp.domain.text import as_id  # brings pydantic, and real session ids do not need it

    return as_id(name)


def _reminder(held: list["Held"]) -> str:
    tasks = "; ".join(f'{task.id} "{task.title[:80]}" (lease token {task.token}, until {task.until})' for task in held)
    return (
        f"You still hold {tasks}. Before you stop: complete_task if it is done; checkpoint and go on if it is not;"
        " or fail_task with the error, block_task or release_task with the reason. To stop all the same, just stop again:"
        " the task then returns to the queue when its lease ends."
    )


def count_apart(fields: dict[str, Any], agent_id: str, compose: "Compose") -> None:
    """Begin to count the transcript that the hook's input names, and return at once."""
    transcript = fields.get("transcript_path")
    if not isinstance(transcript, str) or "\0" in transcript or not Path(transcript).is_file():
        return
    cwd = Path(str(fields.get("cwd") or Path.cwd()))
    apart(lambda: count(Path(transcript), agent_id, cwd, compose))


def apart(work: Callable[[], object]) -> None:
    """In a process of its own, which no client waits for."""
    if os.fork():
        return
    try:
        os.setsid()  # the client may end the hook's group when the hook has answered
        signal.alarm(SECONDS)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nowhere, stream)
        work()
    finally:
        os._exit(0)


def count(transcript: Path, agent_id: str, cwd: Path, compose: "Compose") -> int:
    """Tokens counted now."""
    import anyio  # the hook itself starts without these

    from wvo_mcp.settings import load

    return anyio.run(compose().count_transcript, load(cwd), agent_id, transcript)
