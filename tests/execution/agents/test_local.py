"""A model that only answers, against a server on loopback."""

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest

from wvo_mcp.domain.agents import AgentEvent, EventKind, Status
from wvo_mcp.domain.providers.signals.reading import FailureKind
from wvo_mcp.execution.agents.local import LocalDriver
from wvo_mcp.execution.agents.logs import WorkerLogFiles
from wvo_mcp.ports.agents import AgentNotStarted, Launch, ServerEntry

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WORK-2")]

GOOD: dict[str, Any] = {
    "verdict": "fail",
    "summary": "Rounds the wrong way.",
    "findings": [{"severity": "error", "text": "rounds down", "file": "prices.py", "line": 3}],
    "blockers": ["The tests were not shown."],
}


def said(text: Any, **more: Any) -> tuple[int, bytes]:
    """An answer of the model."""
    content = text if isinstance(text, str) else json.dumps(text)
    usage = {"prompt_tokens": 30, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 10}}
    body = {"model": "m-1", "choices": [{"message": {"role": "assistant", "content": content}}], "usage": usage}
    return 200, json.dumps({**body, **more}).encode()


@dataclass
class Server:
    """Answers in order; the last one again and again."""

    answers: list[tuple[int, bytes]]
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    keys: list[str | None] = field(default_factory=list[str | None])
    paths: list[str] = field(default_factory=list[str])
    hangs: threading.Event | None = None
    url: str = ""


@contextmanager
def serving(*answers: tuple[int, bytes], hangs: bool = False) -> Generator[Server]:
    server = Server([*answers], hangs=threading.Event() if hangs else None)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            server.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            server.keys.append(self.headers["authorization"])
            server.paths.append(self.path)
            if server.hangs is not None:
                server.hangs.wait(20)
            status, body = server.answers[min(len(server.asked), len(server.answers)) - 1]
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            with suppress(OSError):  # whoever asked may have gone
                self.wfile.write(body)

        def do_GET(self) -> None:
            """As Ollama says that it is there, and which models it has."""
            body = json.dumps({"version": "0.9.0", "models": [{"name": "judge"}]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        server.url = f"http://127.0.0.1:{httpd.server_address[1]}"
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            if server.hangs is not None:
                server.hangs.set()
            httpd.shutdown()
            thread.join()


def launch(place: Path, url: str, **more: Any) -> Launch:
    server = ServerEntry(argv=("wvo-mcp",), env={})
    given: dict[str, Any] = {
        "env": {"OPENAI_API_KEY": "k-1"},
        "base_url": url,
        "model": "m",
        "log": place / "w.jsonl",
        **more,
    }
    return Launch(workspace=place, home=place, prompt="Review PRICES.", server=server, **given)


async def asked(
    place: Path, url: str, then: Callable[[AgentEvent], bool] = lambda _: False, **more: Any
) -> list[AgentEvent]:
    """Its events until it stops; interrupted at the event for which `then` is true."""
    events: list[AgentEvent] = []
    with anyio.fail_after(30):
        async with LocalDriver().start(launch(place, url, **more)) as run, anyio.create_task_group() as tasks:
            async for event in run.events():
                events.append(event)
                if then(event):
                    tasks.start_soon(run.interrupt)
                if event.kind is EventKind.STOP:
                    break
    return events


async def test_an_answer_becomes_findings_blockers_use_and_one_end(tmp_path: Path) -> None:
    with serving(said(GOOD)) as server:
        events = await asked(tmp_path, server.url)
    kinds = [one.kind for one in events if one.kind not in (EventKind.TOOL_CALL, EventKind.STARTED)]
    assert kinds == [EventKind.USAGE, EventKind.FINDING, EventKind.BLOCKER, EventKind.MESSAGE, EventKind.STOP]
    told = {one.kind: one.text for one in events}
    assert told[EventKind.FINDING] == "error: prices.py:3: rounds down"
    assert (events[-1].status, json.loads(events[-1].text)) == (Status.DONE, GOOD)
    [use] = [one.use for one in events if one.use is not None]
    assert (use.tokens_in, use.tokens_out, use.tokens_cached, use.model, use.sums) == (20, 7, 10, "m-1", False)
    assert (server.paths, server.keys) == (["/v1/chat/completions"], ["Bearer k-1"])
    assert server.asked[0]["response_format"]["type"] == "json_schema"
    assert server.asked[0]["messages"][-1] == {"role": "user", "content": "Review PRICES."}


@pytest.mark.parametrize(
    "text", [f"<think>Hm {{.</think>\n{json.dumps(GOOD)}", f"Here it is:\n```json\n{json.dumps(GOOD)}\n```\nBye."]
)
async def test_what_surrounds_an_answer_is_left_out(tmp_path: Path, text: str) -> None:
    with serving(said(text)) as server:
        assert json.loads((await asked(tmp_path, server.url))[-1].text) == GOOD


async def test_an_answer_of_another_shape_is_sent_back_once(tmp_path: Path) -> None:
    with serving(said({"verdict": "maybe"}), said(GOOD)) as server:
        events = await asked(tmp_path, server.url)
        assert events[-1].status is Status.DONE
        assert "verdict" in server.asked[1]["messages"][-1]["content"]
        assert len([one for one in events if one.use is not None]) == 2, "both answers were paid for"
    with serving(said("I think it is fine.")) as server:
        events = await asked(tmp_path, server.url)
        assert (events[-1].status, len(server.asked)) == (Status.FAILED, 2)
        assert events[-1].signal is None, "the provider did nothing wrong"


@pytest.mark.requirement("PROV-3")
@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b'{"error": {"message": "invalid key"}}', FailureKind.AUTH),
        (429, b'{"error": {"message": "slow down"}}', FailureKind.RATE_LIMIT),
        (503, b"<html>busy</html>", FailureKind.OUTAGE),
        (500, b"", FailureKind.OUTAGE),
        (200, b"hello", FailureKind.OUTAGE),
        (200, b"[" * 100_000, FailureKind.OUTAGE),
        (200, b"x" * (5 << 20), FailureKind.OUTAGE),
    ],
)
async def test_each_failure_of_the_server_has_its_signal(
    tmp_path: Path, status: int, body: bytes, kind: FailureKind
) -> None:
    with serving((status, body)) as server:
        events = await asked(tmp_path, server.url)
    signal = events[-1].signal
    assert signal is not None
    assert (events[-1].status, signal.kind) == (Status.FAILED, kind)
    assert len(signal.message) <= 300


async def test_a_server_that_knows_no_shapes_is_asked_without(tmp_path: Path) -> None:
    with serving((400, b'{"error": {"message": "response_format is not supported"}}'), said(GOOD)) as server:
        events = await asked(tmp_path, server.url)
        assert events[-1].status is Status.DONE
        assert "response_format" not in server.asked[1]


async def test_where_nothing_listens_is_an_outage(tmp_path: Path) -> None:
    events = await asked(tmp_path, "http://127.0.0.1:9")
    assert events[-1].signal is not None
    assert events[-1].signal.kind is FailureKind.OUTAGE


async def test_a_model_that_says_nothing_can_be_interrupted(tmp_path: Path) -> None:
    with serving(said(GOOD), hangs=True) as server:
        events = await asked(tmp_path, server.url, then=lambda event: event.status is Status.RUNNING)
    assert events[-1].status is Status.INTERRUPTED


async def test_a_second_turn_knows_of_the_first(tmp_path: Path) -> None:
    with serving(said(GOOD)) as server, anyio.fail_after(30):
        async with LocalDriver().start(launch(tmp_path, server.url)) as run:
            stops = 0
            async for event in run.events():
                if event.kind is EventKind.STOP:
                    stops += 1
                    if stops == 2:
                        break
                    await run.say("And the tests?")
        assert [one["content"] for one in server.asked[1]["messages"][1:]] == [
            "Review PRICES.",
            json.dumps(GOOD),
            "And the tests?",
        ]


async def test_its_log_says_afterwards_what_it_found(tmp_path: Path) -> None:
    with serving(said(GOOD)) as server:
        await asked(tmp_path, server.url)
    page = await WorkerLogFiles(tmp_path).read(str(tmp_path / "w.jsonl"), None, raw=False)
    assert page.lines[0] == "finding: error: prices.py:3: rounds down"
    assert page.lines[-1] == GOOD["summary"]
    assert [one.kind for one in LocalDriver().meaning(b"{")] == [EventKind.NOISE]


async def test_without_an_address_or_a_model_nothing_is_started(tmp_path: Path) -> None:
    wrong: list[dict[str, Any]] = [{"base_url": None, "env": {}}, {"model": None}]
    for more in wrong:
        with pytest.raises(AgentNotStarted, match=r"providers\.yaml names no"):
            await asked(tmp_path, "http://127.0.0.1:9", lambda _: False, **more)
