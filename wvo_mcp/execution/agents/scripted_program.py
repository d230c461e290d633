"""The program of `scripted.py`: does the steps that its first line of input has. Standard library only.

Lines of JSON both ways. It says {kind: started, message, tool_call, permission, usage, stop, ...}; it takes {answer, allowed,
reason}, {say} for another turn, and {interrupt}.
"""

import json
import os
import queue
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any


class Stopped(Exception):
    """The turn ends here."""


class Server:
    """Our MCP server, started when it is first called."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self._command = (argv, env)
        self._process: subprocess.Popen[str] | None = None
        self._number = 0

    def call(self, tool: str, arguments: dict[str, Any]) -> tuple[bool, str]:
        argv, env = self._command
        if not argv:
            return False, "there is no server"
        if self._process is None:
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self._process = subprocess.Popen(argv, env=env, **pipes)  # noqa: S603 - it is ours
            info = {"name": "scripted", "version": "1"}
            self._ask("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info})
            self._write({"method": "notifications/initialized"})
        result = self._ask("tools/call", {"name": tool, "arguments": arguments})
        text = "".join(part.get("text", "") for part in result.get("content", ()))
        return not result.get("isError", "content" not in result), text or json.dumps(result)

    def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        self._write({"id": self._number, "method": method, "params": params})
        assert self._process is not None and self._process.stdout is not None  # noqa: S101
        for line in self._process.stdout:
            answer = json.loads(line)
            if answer.get("id") == self._number:
                return answer.get("result") or answer.get("error") or {}
        return {"message": "the server has gone"}

    def _write(self, message: dict[str, Any]) -> None:
        assert self._process is not None and self._process.stdin is not None  # noqa: S101
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self._process.stdin.flush()


def tell(kind: str, **more: Any) -> None:
    put(json.dumps({"kind": kind, **more}))


def put(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Inbox:
    """Lines of input, read beside the steps. Their end ends this program, whatever it does."""

    def __init__(self) -> None:
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            self._lines.put(json.loads(line))
        os._exit(0)

    def take(self) -> dict[str, Any]:
        return self._lines.get()

    def rest(self, seconds: float) -> None:
        """Raises Stopped when it is interrupted meanwhile. Other lines are of no interest then."""
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            try:
                said = self._lines.get(timeout=left) if left > 0 else self._lines.get_nowait()
            except queue.Empty:
                return
            if "interrupt" in said:
                raise Stopped({"text": "It was interrupted.", "status": "interrupted"})


class Session:
    """Its steps, kept in the home so that a later process goes on with what is left."""

    def __init__(self, begin: dict[str, Any], inbox: Inbox) -> None:
        self.inbox = inbox
        folder = Path(begin["home"])
        session = begin["session"] or uuid.uuid4().hex
        self.file = folder / f"scripted-{session}.json"
        if not self.file.exists():
            before, attempts = len(list(folder.glob("scripted-*.json"))), begin["attempts"]
            steps: Any = attempts[min(before, len(attempts) - 1)] if attempts else []
            self.keep({"task_id": begin["task_id"], "steps": steps, "calls": 0})
        self.state: dict[str, Any] = json.loads(self.file.read_text())
        entry: dict[str, Any] = begin["server"] or {"argv": [], "env": {}}  # one that only answers has none
        self.server = Server(entry["argv"], entry["env"])
        tell("started", session=session)

    def keep(self, state: dict[str, Any]) -> None:
        self.file.write_text(json.dumps(state))

    def turn(self) -> None:
        """All that is left. A step is struck out before it is done: it is never done twice."""
        while self.state["steps"]:
            step = self.state["steps"].pop(0)
            self.state["calls"] += 1
            self.keep(self.state)
            try:
                self.inbox.rest(0)
                self.step(step)
            except Stopped as stop:
                tell("stop", **stop.args[0])
                return
        tell("stop", text="All steps are done.", status="done")

    def step(self, step: dict[str, Any]) -> None:
        call = str(self.state["calls"])
        if "say" in step:
            tell("message", text=step["say"])
        elif "write" in step:
            tell("tool_call", call=call, tool="Write", text=step["write"], status="running")
            path = Path(step["write"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step["text"])
            tell("tool_call", call=call, tool="Write", text="", status="done")
        elif "call" in step:
            tell("tool_call", call=call, tool=step["call"], text="", status="running")
            fine, said = self.server.call(step["call"], {"task_id": self.state["task_id"], **step.get("with", {})})
            tell("tool_call", call=call, tool=step["call"], text=said[:2000], status="done" if fine else "failed")
        elif "run" in step:
            self.run(call, step["run"])
        elif "use" in step:
            tell("usage", **step["use"])
        elif "touch" in step:
            Path(step["touch"]).touch()
        elif "until" in step:
            tell("tool_call", call=call, tool="Wait", text=step["until"], status="running")
            while not Path(step["until"]).exists():
                self.inbox.rest(0.05)
            tell("tool_call", call=call, tool="Wait", text="", status="done")
        elif "deaf" in step:
            tell("tool_call", call=call, tool="Wait", text=step["deaf"], status="running")
            while not Path(step["deaf"]).exists():
                time.sleep(0.05)
        elif "wait" in step:
            self.inbox.rest(step["wait"])
        elif "print" in step:
            put(step["print"])
        elif "limit" in step:
            raise Stopped({"text": "The limit is reached.", "status": "failed", "limit": step["limit"]})
        elif "stop" in step:
            raise Stopped({"text": step["stop"], "status": "done"})
        elif "fail" in step:
            raise Stopped({"text": f"It failed: {step['fail']}.", "status": "failed", "failure": step["fail"]})
        elif "exit" in step:
            raise SystemExit(step["exit"])

    def run(self, call: str, command: str) -> None:
        tell("permission", id=call, text=command)
        while True:
            said = self.inbox.take()
            if "interrupt" in said:
                raise Stopped({"text": "It was interrupted.", "status": "interrupted"})
            if said.get("answer") == call:
                break
        if not said["allowed"]:
            tell("message", text=f"I was refused: {said['reason']}")
            return
        tell("tool_call", call=call, tool="Bash", text=command, status="running")
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)  # noqa: S603
        status = "failed" if done.returncode else "done"
        tell("tool_call", call=call, tool="Bash", text=(done.stdout + done.stderr)[:2000], status=status)


def main() -> None:
    inbox = Inbox()
    session = Session(inbox.take(), inbox)
    session.turn()
    while True:  # another turn, until the input ends
        if "say" in inbox.take():
            tell(
                "message", text="I go on." if session.state["steps"] else "There is nothing more that I was told to do."
            )
            session.turn()


if __name__ == "__main__":
    main()
