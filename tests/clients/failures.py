"""How each client program fails, and what that must be taken for: scripts for the scripted models.

The same list serves the tests with the real programs, and the recorded samples: `python -m tests.clients.failures` records
all of them anew under tests/samples/signals.
"""

import json
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.clients.models.script import Break, Call, Fail, Hang, Refuse, Say, Step
from tests.clients.processes import DeadlinePassed, Finished
from tests.clients.programs import CLIENTS, REPOSITORY
from wvo_mcp.domain.providers.signals.reading import FailureKind

K = FailureKind
SAMPLES = REPOSITORY / "tests/samples/signals"
ALWAYS = 99
OUR_DEADLINE = 124
"""What the exit code is taken for when we stop a program."""


@dataclass(frozen=True)
class Scenario:
    """A run of a program and what it must be read as. `retry_after`: least and most seconds."""

    program: str
    name: str
    script: Sequence[Step]
    kind: FailureKind | None
    finished: bool = False
    retry_after: tuple[float, float] | None = None
    resets_at: datetime | None = None
    says: str = ""
    """Part of the message."""
    patience: float | None = None
    """Seconds of silence after which we stop it; None: it ends by itself."""
    without: str | None = None
    """An environment variable that it does not get."""
    besides: Mapping[str, str] = field(default_factory=dict[str, str])
    """Environment variables that it gets besides."""
    flags: tuple[str, ...] | None = None
    """Instead of those that it is usually given."""

    @property
    def label(self) -> str:
        return f"{self.program}-{self.name}"


def refuse(status: int, kind: str, message: str, retry_after: str = "", **more: Any) -> Sequence[Step]:
    """The endpoint refuses every time."""
    return [Refuse(status, kind, message, ALWAYS, {"retry-after": retry_after} if retry_after else {}, more)]


QUOTED = (
    "You've hit your usage limit. Try again at 3:05 PM.\nAPI Error: 529 Overloaded\nQuota exceeded. Check your plan."
)
"""What an agent says who works on exactly this."""


def claude(now: datetime) -> Iterator[Scenario]:
    """Claude Code, which tells a wait only by the delay of its retries, but subscribers of their limits."""

    def case(name: str, script: Sequence[Step], kind: FailureKind | None, **more: Any) -> Scenario:
        return Scenario("claude", name, script, kind, **more)

    def subscriber(
        name: str, step: Callable[[Mapping[str, str]], Step], window: str, ends: datetime, **more: Any
    ) -> Scenario:
        told = {"reset": str(int(ends.timestamp())), "representative-claim": window, **more.pop("told")}
        headers = {f"anthropic-ratelimit-unified-{name}": value for name, value in told.items()}
        token = {"CLAUDE_CODE_OAUTH_TOKEN": "dummy"}
        return case(name, [step(headers)], besides=token, without="ANTHROPIC_API_KEY", **more)

    def rejected(headers: Mapping[str, str]) -> Step:
        return Refuse(429, "rate_limit_error", "This request would exceed your limit.", ALWAYS, headers)

    in_hours = now.replace(microsecond=0) + timedelta(hours=2)
    in_days = now.replace(microsecond=0) + timedelta(days=5)
    over: dict[str, Any] = {"kind": K.RATE_LIMIT, "told": {"status": "rejected"}}
    yield subscriber("limit-of-hours", rejected, "five_hour", in_hours, resets_at=in_hours, says="5-hour limit", **over)
    yield subscriber("limit-of-days", rejected, "seven_day", in_days, resets_at=in_days, says="weekly limit", **over)
    near = {"status": "allowed_warning", "5h-utilization": "0.95", "5h-reset": str(int(in_hours.timestamp()))}
    near |= {"5h-status": "allowed_warning", "5h-surpassed-threshold": "0.9"}
    warned: dict[str, Any] = {"kind": None, "finished": True, "told": near}
    yield subscriber("warned", lambda headers: Say("Hello.", headers), "five_hour", in_hours, **warned)
    limited = "This request would exceed your account's rate limit. Please try again later."
    yield case("429", refuse(429, "rate_limit_error", limited, "2"), K.RATE_LIMIT, retry_after=(2, 3))
    yield case("529", refuse(529, "overloaded_error", "Overloaded"), K.CAPACITY)
    yield case("401", refuse(401, "authentication_error", "invalid x-api-key"), K.AUTH)
    yield case("oauth", refuse(401, "authentication_error", "OAuth token has expired."), K.AUTH, says="OAuth token")
    yield case("403", refuse(403, "permission_error", "Your API key may not use this."), K.AUTH)
    yield case("500", refuse(500, "api_error", "Internal server error"), K.OUTAGE)
    yield case("no-model", refuse(404, "not_found_error", "model: scripted"), K.OUTAGE, says="model")
    yield case(
        "context", refuse(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"), K.CONTEXT
    )
    broke = "Your credit balance is too low to access the Anthropic API."
    yield case("credit", refuse(400, "invalid_request_error", broke), K.QUOTA)
    yield case("hang", [Hang(times=ALWAYS)], K.OUTAGE, says="timed out", besides={"API_TIMEOUT_MS": "1000"})
    yield case("break", [Break("This answer is never heard to its end.", ALWAYS)], K.OUTAGE)
    yield case("overloaded-stream", [Fail("overloaded_error", "Overloaded", ALWAYS)], K.CAPACITY)
    yield case("recovered", [Refuse(529, "overloaded_error", "Overloaded"), Say("Done.")], None, finished=True)
    yield case("no-key", [Say("Never asked.")], K.AUTH, without="ANTHROPIC_API_KEY", says="Not logged in")
    outside = Call("Bash", {"command": "touch /etc/hello", "description": "Write"}, own=True)
    yield case("denied", [outside, Say("I could not.")], K.PERMISSION, finished=True, says="Bash")
    echo = Call("Bash", {"command": f'echo "{QUOTED}"', "description": "Say it"}, own=True)
    yield case("quoted", [echo, Say(QUOTED)], None, finished=True)


def codex(now: datetime) -> Iterator[Scenario]:
    """Codex, which tells times to the minute and waits for ever for an answer that does not begin."""

    def case(name: str, script: Sequence[Step], kind: FailureKind | None, **more: Any) -> Scenario:
        return Scenario("codex", name, script, kind, **more)

    def limit(after: timedelta) -> Sequence[Step]:
        ends = int((now + after).timestamp())
        return refuse(429, "usage_limit_reached", "The usage limit has been reached", plan_type="pro", resets_at=ends)

    def minute(after: timedelta) -> datetime:
        return (now + after).replace(second=0, microsecond=0)

    soon, later = timedelta(minutes=20), timedelta(days=5)
    yield case("usage-limit", limit(soon), K.RATE_LIMIT, resets_at=minute(soon))
    yield case("usage-limit-of-days", limit(later), K.RATE_LIMIT, resets_at=minute(later))
    yield case("429", refuse(429, "rate_limit_exceeded", "Rate limit reached", "7"), K.RATE_LIMIT)
    limited = "Rate limit reached for scripted on tokens per min (TPM): Limit 30000. Please try again in 11.054s."
    yield case("429-stream", [Fail("rate_limit_exceeded", limited, ALWAYS)], K.RATE_LIMIT, retry_after=(11, 12))
    yield case("quota", refuse(429, "insufficient_quota", "You exceeded your current quota."), K.QUOTA)
    yield case("capacity", refuse(503, "server_is_overloaded", "Overloaded"), K.CAPACITY)
    yield case("529", refuse(529, "overloaded_error", "Overloaded"), K.CAPACITY)
    yield case("401", refuse(401, "invalid_api_key", "Incorrect API key provided"), K.AUTH)
    yield case("403", refuse(403, "unsupported_country_region_territory", "Country not supported"), K.AUTH)
    yield case("500", refuse(500, "server_error", "The server had an error"), K.OUTAGE)
    yield case("no-model", refuse(404, "model_not_found", "The model `scripted` does not exist"), K.OUTAGE)
    full = "Your input exceeds the context window of this model."
    yield case("context", refuse(400, "context_length_exceeded", full), K.CONTEXT)
    unsafe = "Invalid prompt: we've limited access to this content for safety reasons."
    yield case("refusal", refuse(400, "invalid_prompt", unsafe), K.REFUSAL)
    yield case("hang", [Hang(times=ALWAYS)], K.OUTAGE, patience=2)
    silent = [Hang("This answer is never heard to its end.", ALWAYS)]
    idle = ("--skip-git-repo-check", "-c", "model_providers.scripted.stream_idle_timeout_ms=1000")
    yield case("silent-stream", silent, K.OUTAGE, says="idle", flags=idle)
    yield case("break", [Break("This answer is never heard to its end.", ALWAYS)], K.OUTAGE, says="stream disconnected")
    yield case("no-key", [Say("Never asked.")], K.AUTH, without="SCRIPTED_KEY")
    yield case("untrusted", [Say("Never asked.")], K.PERMISSION, flags=(), says="trusted directory")
    echo = Call("exec_command", {"cmd": f'echo "{QUOTED}"'}, own=True)
    yield case("quoted", [echo, Say(QUOTED)], None, finished=True)


def gemini() -> Iterator[Scenario]:
    """Gemini CLI, which knows Google's details of errors, and leaves with the last eight bits of the status."""

    def case(name: str, script: Sequence[Step], kind: FailureKind | None, **more: Any) -> Scenario:
        return Scenario("gemini", name, script, kind, **more)

    def exhausted(message: str, *details: dict[str, Any]) -> Sequence[Step]:
        return refuse(429, "RESOURCE_EXHAUSTED", message, details=list(details))

    google = "type.googleapis.com/google.rpc."
    wait = {"@type": f"{google}RetryInfo", "retryDelay": "46.5s"}
    daily = {"@type": f"{google}QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}]}
    plan = "You exceeded your current quota, please check your plan and billing details."
    yield case("429", exhausted(f"{plan} Please retry in 12.5s."), K.RATE_LIMIT, retry_after=(12.5, 12.5))
    yield case("429-details", exhausted("Resource has been exhausted.", wait), K.RATE_LIMIT, retry_after=(46.5, 46.5))
    yield case("quota", exhausted(plan, daily), K.QUOTA, says="daily quota")
    none_left = "No capacity available for model scripted on the server"
    reason = {
        "@type": f"{google}ErrorInfo",
        "reason": "MODEL_CAPACITY_EXHAUSTED",
        "domain": "cloudcode-pa.googleapis.com",
    }
    yield case("capacity", exhausted(none_left, reason), K.CAPACITY)
    full = "You have exhausted your capacity on this model. Your quota will reset after 18h41m25s."
    yield case("capacity-of-hours", exhausted(full), K.CAPACITY, retry_after=(67285, 67285))
    yield case("503", refuse(503, "UNAVAILABLE", "The model is overloaded. Please try again later."), K.CAPACITY)
    yield case("401", refuse(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."), K.AUTH)
    yield case("bad-key", refuse(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."), K.AUTH)
    yield case("403", refuse(403, "PERMISSION_DENIED", "Permission denied"), K.AUTH)
    yield case("500", refuse(500, "INTERNAL", "An internal error has occurred."), K.OUTAGE)
    long = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
    yield case("context", refuse(400, "INVALID_ARGUMENT", long), K.CONTEXT)
    yield case("hang", [Hang(times=ALWAYS)], K.OUTAGE, patience=2)
    yield case("break", [Break("This answer is never heard to its end.", ALWAYS)], K.OUTAGE)
    yield case("no-key", [Say("Never asked.")], K.AUTH, without="GEMINI_API_KEY", says="GEMINI_API_KEY")
    yield case("untrusted", [Say("Never asked.")], K.PERMISSION, without="GEMINI_CLI_TRUST_WORKSPACE", says="trusted")
    outside = Call("read_file", {"file_path": "/etc/hostname"}, own=True)
    yield case("denied", [outside, Say("I could not.")], K.PERMISSION, finished=True, says="workspace")
    yield case("quoted", [Say(QUOTED)], None, finished=True)


def scenarios(now: datetime) -> list[Scenario]:
    """All of them; times in them are told relative to `now`."""
    return [*claude(now), *codex(now), *gemini()]


def played(scenario: Scenario, place: Path) -> Finished:
    """One run of the real program; a program that we had to stop leaves with `OUR_DEADLINE`."""
    client = CLIENTS[scenario.program].impatient(place)
    client.without = frozenset({scenario.without} if scenario.without else ())
    client.besides = scenario.besides
    if scenario.flags is not None:
        client.flags = scenario.flags
    with client.model(scenario.script) as model:
        if scenario.patience is not None:
            client.stop = _later(model.silent, scenario.patience)
        try:
            return client.ask(model, "Say hello.", waits=False)
        except DeadlinePassed as passed:
            assert passed.finished is not None
            late = passed.finished
            return Finished(late.command, OUR_DEADLINE, late.stdout, late.stderr, late.seconds)


def _later(begun: threading.Event, seconds: float) -> threading.Event:
    """Set so long after `begun`: however slow the machine is, the program has got as far as to wait."""
    later = threading.Event()

    def wait() -> None:
        if begun.wait(190):
            later.wait(seconds)
            later.set()

    threading.Thread(target=wait, daemon=True).start()
    return later


def lines_of(run: Finished) -> list[str]:
    """All that it printed, as whoever reads it would get it."""
    return [*run.stdout.split("\n"), *run.stderr.rstrip("\n").split("\n")]


_OF_INIT = ("type", "subtype", "session_id", "model", "permissionMode", "apiKeySource", "claude_code_version")
_SCRUBBED: Sequence[tuple[re.Pattern[str], str]] = (
    (
        re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
        "00000000-0000-4000-8000-000000000000",
    ),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:40000"),
    (re.compile(r"file://[^\s)]*/node_modules/"), "NODE_MODULES/"),
)


def scrubbed(line: str, place: Path) -> str:
    """Without what tells of this machine and this run; of claude's first event only what says something about the run."""
    for folder, instead in ((place / "home/tmp", "TEMPORARY"), (place / "home", "HOME"), (place, "PLACE")):
        line = line.replace(str(folder), instead)
    for pattern, instead in _SCRUBBED:
        line = pattern.sub(instead, line)
    with suppress(json.JSONDecodeError):
        event = json.loads(line)
        if isinstance(event, dict) and event.get("subtype") == "init":
            return json.dumps({name: event[name] for name in _OF_INIT if name in event}, separators=(",", ":"))
    return line


def record(scenario: Scenario, now: datetime, folder: Path = SAMPLES) -> str:
    """Plays a scenario and writes what was printed, below a line with the moment and the exit code; returns a word on it."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        run = played(scenario, place)
        head = {"recorded_at": now.isoformat(), "exit_code": run.exit_code}
        lines = [json.dumps(head), *(scrubbed(line, place) for line in lines_of(run))]
    (folder / f"{scenario.label}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"{scenario.label}: exit {run.exit_code}, {run.seconds:.1f} s\n"


def main(wanted: Sequence[str]) -> int:
    """Records the scenarios whose labels begin with one of `wanted`; all without."""
    now = datetime.now(UTC)
    SAMPLES.mkdir(parents=True, exist_ok=True)
    chosen = [scenario for scenario in scenarios(now) if not wanted or scenario.label.startswith(tuple(wanted))]
    recorded: Callable[[Scenario], str] = lambda scenario: record(scenario, now)  # noqa: E731
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        for word in pool.map(recorded, chosen):
            sys.stdout.write(word)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
