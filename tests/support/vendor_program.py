"""Fakes of coding agents that speak their vendor's protocol over pipes: `python vendor_program.py VENDOR SCRIPT.json`.

The script has the steps of each turn. A step is one of {"say": TEXT}, {"call": TOOL}, {"ask": COMMAND}, {"use": [IN, OUT]},
{"line": RAW}, {"flood": BYTES}, {"stderr": TEXT}, {"limit": true}, {"exit": CODE}, {"listen": true} (until interrupted).
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def put(message: Json) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


class Interrupted(Exception):
    pass


class Vendor:
    """What all vendors share. `turn` counts from 0."""

    def __init__(self, turns: list[list[Json]]) -> None:
        self.turns = turns
        self.turn = 0
        self.calls = 0
        self.used = [0, 0]
        self.last = ""

    def take(self) -> Json:
        line = sys.stdin.readline()
        if not line:
            os._exit(0)
        return json.loads(line)

    def play(self) -> None:
        """The steps of the next turn; past the last one nothing is done."""
        steps = self.turns[self.turn] if self.turn < len(self.turns) else []
        self.turn += 1
        for step in steps:
            match next(iter(step.items())):
                case ("say", text):
                    self.last = text
                    self.say(text)
                case ("call", tool):
                    self.calls += 1
                    self.call(tool, f"c{self.calls}")
                case ("ask", command):
                    self.calls += 1
                    allowed, reason = self.ask(command, f"c{self.calls}")
                    self.say("allowed" if allowed else f"refused: {reason}")
                case ("use", (tokens_in, tokens_out)):
                    self.used = [self.used[0] + tokens_in, self.used[1] + tokens_out]
                case ("line", text):
                    sys.stdout.write(text + "\n")
                case ("flood", size):
                    sys.stdout.write("x" * size + "\n")
                case ("stderr", text):
                    sys.stderr.write(text)
                    sys.stderr.flush()
                case ("limit", _):
                    self.over(limited=True)
                    return
                case ("exit", code):
                    sys.stdout.flush()
                    os._exit(code)
                case _:
                    self.listen()
        self.over()

    def say(self, text: str) -> None: ...
    def call(self, tool: str, call: str) -> None: ...
    def ask(self, command: str, call: str) -> tuple[bool, str]: ...  # pyright: ignore[reportReturnType]
    def listen(self) -> None: ...
    def over(self, *, limited: bool = False) -> None: ...
    def live(self) -> None: ...


class Claude(Vendor):
    """Stream-json both ways (measured with 2.1.329)."""

    session = "s-1"

    def live(self) -> None:
        if "--resume" in sys.argv:
            self.session = sys.argv[sys.argv.index("--resume") + 1]
        while True:
            message = self.take()
            if message["type"] == "control_request":
                self._done(message)
            elif message["type"] == "user":
                put({"type": "system", "subtype": "init", "session_id": self.session, "model": "m"})
                try:
                    self.play()
                except Interrupted:
                    self._result(is_error=False, subtype="error_during_execution", result="interrupted")

    def _done(self, message: Json) -> None:
        response = {"subtype": "success", "request_id": message["request_id"]}
        put({"type": "control_response", "response": response})

    def _assistant(self, block: Json) -> None:
        put({"type": "assistant", "message": {"content": [block]}})

    def _result_of(self, call: str, *, failed: bool = False) -> None:
        block = {"type": "tool_result", "tool_use_id": call, "is_error": failed}
        put({"type": "user", "message": {"content": [block]}})

    def say(self, text: str) -> None:
        self._assistant({"type": "text", "text": text})

    def call(self, tool: str, call: str) -> None:
        self._assistant({"type": "tool_use", "id": call, "name": f"mcp__wvo__{tool}", "input": {"task_id": "T1"}})
        self._result_of(call)

    def ask(self, command: str, call: str) -> tuple[bool, str]:
        given = {"command": command}
        self._assistant({"type": "tool_use", "id": call, "name": "Bash", "input": given})
        request = {"subtype": "can_use_tool", "tool_name": "Bash", "input": given, "tool_use_id": call}
        put({"type": "control_request", "request_id": f"r-{call}", "request": request})
        while True:
            message = self.take()
            if message["type"] == "control_response" and message["response"]["request_id"] == f"r-{call}":
                answer = message["response"]["response"]
                allowed = answer["behavior"] == "allow" and answer["updatedInput"] == given
                self._result_of(call, failed=not allowed)
                return allowed, answer.get("message", "")

    def listen(self) -> None:
        while True:
            message = self.take()
            if message["type"] == "control_request" and message["request"]["subtype"] == "interrupt":
                self._done(message)
                raise Interrupted

    def over(self, *, limited: bool = False) -> None:
        if limited:
            info = {"status": "rejected", "resetsAt": int(time.time()) + 3_600, "rateLimitType": "five_hour"}
            put({"type": "rate_limit_event", "rate_limit_info": info})
            self._result(is_error=True, subtype="success", result="limit reached", api_error_status=429)
        else:
            self._result(is_error=False, subtype="success", result=self.last)

    def _result(self, **fields: Any) -> None:
        usage = {"input_tokens": self.used[0], "output_tokens": self.used[1]}
        put({"type": "result", "session_id": self.session, "usage": usage, **fields})
        self.used = [0, 0]


class Codex(Vendor):
    """The app-server (the schema of 0.169)."""

    session = "s-1"

    def live(self) -> None:
        while True:
            message = self.take()
            match message.get("method"):
                case "thread/start" | "thread/resume":
                    self.session = message["params"].get("threadId", self.session)
                    put({"id": message["id"], "result": {"thread": {"id": self.session}}})
                case "turn/start":
                    put({"id": message["id"], "result": {"turn": {"id": f"t{self.turn}"}}})
                    self._tell("turn/started", turn={"id": f"t{self.turn}"})
                    try:
                        self.play()
                    except Interrupted:
                        self._tell("turn/completed", turn={"id": "t", "status": "interrupted"})
                case _ if "id" in message and "method" in message:
                    put({"id": message["id"], "result": {}})
                case _:
                    pass

    def _tell(self, method: str, **params: Any) -> None:
        put({"method": method, "params": {"threadId": self.session, **params}})

    def say(self, text: str) -> None:
        self._tell("item/completed", item={"type": "agentMessage", "id": "m", "text": text})

    def call(self, tool: str, call: str) -> None:
        item = {"type": "mcpToolCall", "id": call, "server": "wvo", "tool": tool}
        self._tell("item/started", item={**item, "status": "inProgress"})
        self._tell("item/completed", item={**item, "status": "completed"})

    def ask(self, command: str, call: str) -> tuple[bool, str]:
        item = {"type": "commandExecution", "id": call, "command": command}
        self._tell("item/started", item={**item, "status": "inProgress"})
        params = {"threadId": self.session, "itemId": call, "command": command, "cwd": "."}
        put({"id": 7, "method": "item/commandExecution/requestApproval", "params": params})
        while True:
            message = self.take()
            if message.get("id") == 7 and "result" in message:
                allowed = message["result"]["decision"] == "accept"
                break
        reason = ""
        if not allowed:  # a refusal has no place for a reason: the turn is steered
            message = self.take()
            reason = message["params"]["input"][0]["text"]
            put({"id": message["id"], "result": {}})
        self._tell("item/completed", item={**item, "status": "completed" if allowed else "declined"})
        return allowed, reason

    def listen(self) -> None:
        while True:
            message = self.take()
            if message.get("method") == "turn/interrupt":
                put({"id": message["id"], "result": {}})
                raise Interrupted

    def over(self, *, limited: bool = False) -> None:
        total = {"inputTokens": self.used[0], "outputTokens": self.used[1], "cachedInputTokens": 0}
        self._tell("thread/tokenUsage/updated", tokenUsage={"total": total})
        error = {"message": "limit reached, try again in 3 hours", "codexErrorInfo": "usageLimitExceeded"}
        turn = {"status": "failed", "error": error} if limited else {"status": "completed"}
        self._tell("turn/completed", turn={"id": "t", **turn})


class Gemini(Vendor):
    """Stream-json and hooks, one process a turn (measured with 0.61.0)."""

    session = "s-1"

    def live(self) -> None:
        if "--resume" in sys.argv:
            self.session = sys.argv[sys.argv.index("--resume") + 1]
        counted = Path(sys.argv[2] + ".turns")
        self.turn = len(counted.read_bytes()) if counted.exists() else 0
        counted.write_bytes(b"." * (self.turn + 1))
        self.prompt = sys.stdin.read()
        settings = Path(os.environ["GEMINI_CLI_HOME"]) / ".gemini/settings.json"
        self.hooks = json.loads(settings.read_text())["hooks"]
        self._hook("SessionStart", {})
        put_tight({"type": "init", "session_id": self.session, "model": "m"})
        try:
            self.play()
        except KeyboardInterrupt:
            os._exit(130)

    def _hook(self, event: str, given: Json) -> tuple[int, str, str]:
        command = self.hooks[event][0]["hooks"][0]["command"]
        asked = json.dumps({**given, "hook_event_name": event})
        ran = subprocess.run(["/bin/sh", "-c", command], input=asked, capture_output=True, text=True, check=False)
        return ran.returncode, ran.stdout, ran.stderr

    def say(self, text: str) -> None:
        put_tight({"type": "message", "role": "assistant", "content": text, "delta": True})

    def _call(self, tool: str, call: str, given: Json) -> None:
        put_tight({"type": "tool_use", "tool_name": tool, "tool_id": call, "parameters": given})

    def _result_of(self, call: str, status: str = "success") -> None:
        put_tight({"type": "tool_result", "tool_id": call, "status": status, "output": ""})

    def call(self, tool: str, call: str) -> None:
        self._call(f"mcp_wvo_{tool}", call, {"task_id": "T1"})
        self._result_of(call)

    def ask(self, command: str, call: str) -> tuple[bool, str]:
        given = {"command": command}
        self._call("run_shell_command", call, given)
        code, told, said = self._hook("BeforeTool", {"tool_name": "run_shell_command", "tool_input": given})
        answer = json.loads(told) if told else {"decision": "deny" if code == 2 else "allow", "reason": said}
        allowed = answer["decision"] == "allow"
        self._result_of(call, "success" if allowed else "error")
        return allowed, answer.get("reason", "")

    def listen(self) -> None:
        while True:
            time.sleep(1)

    def over(self, *, limited: bool = False) -> None:
        stats = {"input_tokens": self.used[0], "input": self.used[0], "output_tokens": self.used[1], "cached": 0}
        if limited:
            sys.stderr.write("RetryableQuotaError: slow down. Please retry in 3600s.\n")
            error = {
                "type": "ApiError",
                "message": "[API Error: You exceeded your current quota. Please retry in 3600s.]",
            }
            put_tight({"type": "result", "status": "error", "error": error, "stats": stats})
            sys.stdout.flush()
            os._exit(173)
        put_tight({"type": "result", "status": "success", "stats": stats})


def put_tight(message: Json) -> None:
    """As JavaScript prints it."""
    sys.stdout.write(json.dumps(message, separators=(",", ":")) + "\n")
    sys.stdout.flush()


class Scripted(Vendor):
    """The vendor that does not exist (docs/drivers.md)."""

    session = "s-1"

    def live(self) -> None:
        self.session = self.take()["session"] or self.session
        put({"kind": "started", "session": self.session})
        while True:
            try:
                self.play()
            except Interrupted:
                put({"kind": "stop", "text": "interrupted", "status": "interrupted"})
            while "say" not in self.take():
                pass

    def say(self, text: str) -> None:
        put({"kind": "message", "text": text})

    def call(self, tool: str, call: str) -> None:
        put({"kind": "tool_call", "call": call, "tool": tool, "status": "running"})
        put({"kind": "tool_call", "call": call, "tool": tool, "status": "done"})

    def ask(self, command: str, call: str) -> tuple[bool, str]:
        put({"kind": "permission", "id": call, "text": command})
        while True:
            message = self.take()
            if message.get("answer") == call:
                return message["allowed"], message["reason"]

    def listen(self) -> None:
        while "interrupt" not in self.take():
            pass
        raise Interrupted

    def over(self, *, limited: bool = False) -> None:
        put({"kind": "usage", "in": self.used[0], "out": self.used[1]})
        status = {"status": "failed", "limit": 3_600} if limited else {"status": "done"}
        put({"kind": "stop", "text": self.last, **status})


def main() -> None:
    with open(sys.argv[2], encoding="utf-8") as script:  # noqa: PTH123 - it starts a hundred times
        turns = json.load(script)
    {"claude": Claude, "codex": Codex, "gemini": Gemini, "scripted": Scripted}[sys.argv[1]](turns).live()


if __name__ == "__main__":
    main()
