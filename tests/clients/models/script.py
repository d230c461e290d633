"""A scripted model endpoint on loopback: what a client asks is recorded, what it is answered is written down first.

A script is a list of steps. A step is served according to how many tool results the conversation holds, so a client
that repeats a request, or that asks side questions without tools, does not disturb it. Past its end the model says so
and stops. Several conversations at once have a script each, chosen by a text that stands in the conversation.
"""

import json
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Json = dict[str, Any]

THE_END = "The script is over."


@dataclass(frozen=True)
class Say:
    """The model answers with a text, which ends its turn."""

    text: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Call:
    """The model calls one of our tools, named as the server names it; or one of the client's `own`."""

    tool: str
    arguments: Json = field(default_factory=dict[str, Any])
    own: bool = False


@dataclass(frozen=True)
class Refuse:
    """The endpoint refuses with an HTTP status, `times` times, and then serves the next step.

    `kind` is the provider's own word for the error (rate_limit_error, rate_limit_exceeded, RESOURCE_EXHAUSTED, ...).
    """

    status: int
    kind: str
    message: str
    times: int = 1
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    more: Json = field(default_factory=dict[str, Any])
    """What else the body's error object holds (`details`, `resets_at`, ...)."""


@dataclass(frozen=True)
class Hang:
    """The endpoint takes the request and says nothing, or nothing behind the first half of an answer with a text, for as
    long as it serves, `times` times."""

    text: str = ""
    times: int = 1


@dataclass(frozen=True)
class Break:
    """The endpoint begins to answer with a text and breaks the connection in the middle of it, `times` times."""

    text: str
    times: int = 1


@dataclass(frozen=True)
class Fail:
    """The endpoint begins to answer and tells an error in its stream, `times` times. `kind`: as for Refuse."""

    kind: str
    message: str
    times: int = 1


Played = Say | Call | Refuse | Fail
Failing = Refuse | Fail | Hang | Break
Step = Say | Call | Failing


@dataclass(frozen=True)
class Request:
    """One request that a client sent. Header names are in lower case; credentials are left out."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Json


@dataclass(frozen=True)
class Reply:
    """What goes back over the wire."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    hangs: bool = False
    """The connection stays open, and nothing more goes back."""
    breaks: bool = False
    """Only the first half of the body goes back."""


SILENCE = Reply(200, "", b"", hangs=True)
"""Not even the status goes back."""


@dataclass(frozen=True)
class ToolOutcome:
    """A tool result as the model was shown it: everything in it, as text."""

    text: str
    is_error: bool | None


CREDENTIALS = frozenset({"authorization", "x-api-key", "x-goog-api-key", "cookie"})


def as_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A JSON reply."""
    return Reply(status, "application/json", json.dumps(value).encode(), headers or {})


def as_event_stream(events: Sequence[tuple[str | None, Json]]) -> Reply:
    """Server-sent events; an event without a name has only data."""
    lines = [(f"event: {name}\n" if name else "") + f"data: {json.dumps(data)}\n\n" for name, data in events]
    return Reply(200, "text/event-stream", "".join(lines).encode())


def all_text(value: Any) -> str:
    """Every string inside a JSON value, joined by line ends."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "\n".join(all_text(item) for item in value.values())
    if isinstance(value, Sequence):
        return "\n".join(all_text(item) for item in value)
    return ""


class ScriptedModel(ABC):
    """A model endpoint on an ephemeral port of 127.0.0.1, serving while it is entered as a context manager."""

    def __init__(self, script: Sequence[Step] | Mapping[str, Sequence[Step]]) -> None:
        """A mapping has a script for each conversation, by a text that is in it from its first turn on."""
        self._scripts = script if isinstance(script, Mapping) else {"": script}
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._refusals: Counter[tuple[str, int]] = Counter()
        self._over = threading.Event()
        self.silent = threading.Event()
        """Set when it has begun to say nothing."""
        self.on_request: Callable[[], None] = lambda: None
        """Called while a client waits."""
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._server = server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        server.daemon_threads = True
        self._thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._over.set()
        if self._server and self._thread:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        if self._server is None:
            raise RuntimeError("the scripted model is not serving; enter it first")
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def requests(self) -> list[Request]:
        """Every request so far, in order."""
        with self._lock:
            return list(self._requests)

    @property
    def turns(self) -> list[Request]:
        """The requests of the conversation itself: those that brought tools along."""
        return [request for request in self.requests if request.method == "POST" and self.offers_tools(request.body)]

    def answer(self, request: Request) -> Reply:
        """Records a request and says what it gets."""
        self.on_request()
        with self._lock:
            self._requests.append(request)
        if side := self.side_answer(request):
            return side
        match step := self._next_step(request.body):
            case Hang("", _):
                return SILENCE
            case Hang():
                return replace(self.play(request, Say(step.text)), hangs=True, breaks=True)
            case Break():
                return replace(self.play(request, Say(step.text)), breaks=True)
            case Say():
                return replace(self.play(request, step), headers=step.headers)
            case _:
                return self.play(request, step)

    def wait_for_the_end(self) -> None:
        """Returns when it serves no longer."""
        self.silent.set()
        self._over.wait()

    def _next_step(self, body: Json) -> Step:
        results = len(self.outcomes(body))
        said = all_text(body)
        key = next((key for key in self._scripts if key in said), None)
        for index, step in enumerate(() if key is None else self._scripts[key]):
            if isinstance(step, Failing):
                with self._lock:
                    spent = self._refusals[key or "", index] >= step.times
                    self._refusals[key or "", index] += not spent
                if spent:
                    continue
                return step
            if results == 0:
                return step
            results -= 1
        return Say(THE_END)

    @abstractmethod
    def offers_tools(self, body: Json) -> bool:
        """Whether a request belongs to the conversation."""

    @abstractmethod
    def tool_names(self, body: Json) -> set[str]:
        """The names of our server's tools that a request declares, as the server names them."""

    def announced_tools(self, body: Json) -> set[str]:
        """The names of our tools that a request mentions without declaring them (what a client defers)."""
        return set()

    @abstractmethod
    def outcomes(self, body: Json) -> list[ToolOutcome]:
        """The tool results that a request carries, oldest first."""

    @abstractmethod
    def side_answer(self, request: Request) -> Reply | None:
        """The reply to a request that is not part of the conversation, or None when it is."""

    @abstractmethod
    def play(self, request: Request, step: Played) -> Reply:
        """A step in the provider's own format."""


def _handler_for(model: ScriptedModel) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing: the requests are recorded."""

        def _serve(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            for name in CREDENTIALS & headers.keys():
                del headers[name]
            reply = model.answer(Request(self.command, self.path, headers, json.loads(raw or b"{}")))
            if reply is SILENCE:
                model.wait_for_the_end()
                self.close_connection = True
                return
            # A client may hang up as soon as it has what it wants.
            with suppress(ConnectionError):
                self.send_response(reply.status)
                for name, value in {"content-type": reply.content_type, **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(reply.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body[: len(reply.body) // 2] if reply.breaks else reply.body)
                if reply.hangs:
                    self.wfile.flush()
                    model.wait_for_the_end()
                self.close_connection |= reply.breaks

        do_GET = do_HEAD = do_POST = _serve

    return Handler
