"""A model behind an OpenAI-compatible server (Ollama, vLLM, llama.cpp, ...): it has no tools, reads what it is given, and
answers in one shape. For reviews and validations.

One completion, not streamed; an answer of another shape is sent back once with what is wrong with it. What answers may be
anything: no more than MOST_BYTES of it are read, and no redirect is followed.
"""

import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wvo_mcp.domain.agents import AgentEvent, EventKind, Status, Use
from wvo_mcp.domain.providers.signals.reading import FailureKind, Signal, signal
from wvo_mcp.domain.providers.signals.sentences import from_http, items, part, tokens, words
from wvo_mcp.execution.agents.lines import stopped
from wvo_mcp.execution.agents.rawlog import RawLog
from wvo_mcp.ports.agents import AgentNotStarted, Answer, Launch

MOST_BYTES = 4 << 20
_CONNECT_SECONDS = 10.0
_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_ROLE = """\
You judge work; you have no tools and do nothing yourself. What follows was written for a worker with tools: leave out all
that it says about calling them. Judge by what you are given, and do not guess at what you cannot see: that is a blocker.
Answer with one JSON object of this shape, and nothing else:
"""
_ANSWER = """\
You have no tools and do nothing yourself: what you need is in what you are given. Do not guess at what you cannot see.
Answer with one JSON object of this shape, and nothing else:
"""


class Finding(BaseModel):
    """Something that is wrong, or could be better."""

    model_config = ConfigDict(extra="ignore")

    severity: Literal["error", "warning", "note"]
    text: str = Field(min_length=1, max_length=4_000)
    file: str | None = Field(default=None, max_length=500)
    line: int | None = Field(default=None, ge=1)


class Judgement(BaseModel):
    """`verdict`: may it stay as it is? `blockers`: what kept you from judging."""

    model_config = ConfigDict(extra="ignore")

    verdict: Literal["pass", "fail"]
    summary: str = Field(min_length=1, max_length=8_000)
    findings: list[Finding] = Field(default_factory=list[Finding], max_length=100)
    blockers: list[str] = Field(default_factory=list[str], max_length=20)


class LocalRun:
    """Implements `ports.AgentRun` without a process of its own."""

    def __init__(self, launch: Launch, address: str) -> None:
        self.lacks: str | None = "a model that only answers cannot be paused or told things"
        self._launch = launch
        self._address = address
        self._next: list[str] = [launch.prompt]
        self._said = anyio.Event()
        self._asking: anyio.CancelScope | None = None
        self._interrupted = False
        self._log = None if launch.log is None else RawLog(launch.log, LocalDriver.name)

    @property
    def pid(self) -> int:
        return os.getpid()

    @property
    def _schema(self) -> Mapping[str, Any]:
        return self._launch.schema or Judgement.model_json_schema()

    async def answer(self, request_id: str, answer: Answer) -> None:
        """It asks for nothing."""

    async def say(self, text: str) -> None:
        self._next.append(text)
        self._said.set()

    async def interrupt(self) -> None:
        self._interrupted = True
        if self._asking is not None:
            self._asking.cancel()

    async def close(self) -> None:
        if self._log is not None:
            await anyio.to_thread.run_sync(self._log.close)

    async def events(self) -> AsyncIterator[AgentEvent]:
        session = f"local-{id(self):x}"
        yield AgentEvent(EventKind.STARTED, session=session)
        role = _ROLE if self._launch.schema is None else _ANSWER
        messages = [{"role": "system", "content": role + json.dumps(self._schema)}]
        while True:
            while self._next:
                messages.append({"role": "user", "content": self._next.pop(0)})
            async for event in self._turn(messages, session):
                yield event
            if not self._next:
                self._said = anyio.Event()
                await self._said.wait()

    async def _turn(self, messages: list[dict[str, str]], session: str) -> AsyncIterator[AgentEvent]:
        self._interrupted = False
        wrong = ""
        for attempt in (1, 2):
            # A call: as long as it is open, silence is no sign that anything hangs.
            call = f"completion-{attempt}"
            yield AgentEvent(
                EventKind.TOOL_CALL, "asks the model", call_id=call, tool="completion", status=Status.RUNNING
            )
            found: Any = None
            with anyio.CancelScope() as self._asking:
                if self._interrupted:
                    self._asking.cancel()
                found = await self._completion(messages)
            self._asking = None
            fine = isinstance(found, dict)
            yield AgentEvent(EventKind.TOOL_CALL, call_id=call, status=Status.DONE if fine else Status.FAILED)
            if found is None:
                yield AgentEvent(EventKind.STOP, session=session, status=Status.INTERRUPTED)
                return
            if isinstance(found, Signal):
                for event in stopped(found.message, Status.FAILED, session, found):
                    yield event
                return
            yield _usage(found)
            text = words(part(next(iter(items(found.get("choices"))), None), "message").get("content"))
            if self._launch.schema is not None:  # whoever asked reads it, and asks again
                messages.append({"role": "assistant", "content": text[:20_000]})
                yield AgentEvent(EventKind.STOP, text, session=session, status=Status.DONE)
                return
            try:
                judgement = _read(text)
            except ValueError as error:
                messages += [
                    {"role": "assistant", "content": text[:20_000]},
                    {
                        "role": "user",
                        "content": f"That is not the JSON object that was asked for: {error}. Answer again.",
                    },
                ]
                wrong = str(error)
                continue
            messages.append({"role": "assistant", "content": text})
            for event in _told(judgement):
                yield event
            yield AgentEvent(EventKind.STOP, judgement.model_dump_json(), session=session, status=Status.DONE)
            return
        said = f"its answer had not the shape that was asked for: {wrong}"
        yield AgentEvent(EventKind.STOP, said, session=session, status=Status.FAILED)

    async def _completion(self, messages: list[dict[str, str]]) -> Mapping[str, Any] | Signal:
        schema = {"name": "judgement", "schema": self._schema, "strict": False}
        body: dict[str, Any] = {"model": self._launch.model, "messages": messages, "stream": False}
        shaped = {**body, "response_format": {"type": "json_schema", "json_schema": schema}}
        found = await self._post(shaped)
        if isinstance(found, int):  # older servers do not know of shapes; what they answer is read all the same
            found = await self._post(body)
        return (
            signal(FailureKind.OUTAGE, f"the server refuses the request: {found}") if isinstance(found, int) else found
        )

    async def _post(self, body: Mapping[str, Any]) -> Mapping[str, Any] | Signal | int:
        """The answer, the provider's failure, or the status of a request that it does not like."""
        import httpx2  # few autopilots need it

        key, parts = self._launch.env.get("OPENAI_API_KEY"), urlsplit(self._address)
        headers = {"accept-encoding": "identity", **({} if key is None else {"authorization": f"Bearer {key}"})}
        content = bytearray()
        try:
            async with (
                httpx2.AsyncClient(
                    trust_env=parts.hostname not in _HOSTS,
                    follow_redirects=False,
                    verify=parts.scheme == "https",
                    timeout=httpx2.Timeout(self._launch.deadline, connect=_CONNECT_SECONDS),
                ) as client,
                client.stream("POST", self._address, json=body, headers=headers) as answer,
            ):
                async for chunk in answer.aiter_raw():
                    content += chunk
                    if len(content) > MOST_BYTES:
                        return signal(FailureKind.OUTAGE, f"the model's answer is larger than {MOST_BYTES >> 20} MiB")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            return signal(FailureKind.OUTAGE, f"{self._address}: {type(error).__name__} {error}".strip())
        text, status = content.decode(errors="replace"), answer.status_code
        if self._log is not None:
            self._log.write(json.dumps({"wvo": "answer", "status": status, "body": text}).encode())
        failure = from_http(status, text, datetime.now(UTC))
        if failure is not None or status >= 400:
            return failure or status
        try:
            found: object = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            return cast("dict[str, Any]", found)
        return signal(FailureKind.OUTAGE, f"what answers at {self._address} does not speak the OpenAI interface")


class LocalDriver:
    """Implements `ports.AgentDriver`."""

    name = "local"
    asks = False
    answers = True

    @asynccontextmanager
    async def start(self, launch: Launch) -> AsyncGenerator[LocalRun]:
        base = (launch.base_url or launch.env.get("OPENAI_BASE_URL", "")).rstrip("/")
        if not base:
            raise AgentNotStarted("local: providers.yaml names no base_url")
        if launch.model is None:
            raise AgentNotStarted("local: providers.yaml names no model")
        run = LocalRun(launch, f"{base}{'' if urlsplit(base).path.strip('/') else '/v1'}/chat/completions")
        try:
            yield run
        finally:
            with anyio.CancelScope(shield=True):
                await run.interrupt()
                await run.close()

    def meaning(self, line: bytes) -> Iterable[AgentEvent]:
        """Of a line of its log."""
        try:
            found: object = json.loads(line)
            answer: object = json.loads(words(part(found).get("body")))
            text = words(part(next(iter(items(part(answer).get("choices"))), None), "message").get("content"))
            return [*_told(_read(text))]
        except (ValueError, RecursionError):
            return [AgentEvent(EventKind.NOISE, line[:200].decode(errors="replace"))]


def _usage(found: Mapping[str, Any]) -> AgentEvent:
    usage = part(found, "usage")
    cached = tokens(part(usage, "prompt_tokens_details").get("cached_tokens"))
    fresh = max(0, tokens(usage.get("prompt_tokens")) - cached)
    use = Use(
        fresh, tokens(usage.get("completion_tokens")), cached, model=words(found.get("model")) or None, sums=False
    )
    return AgentEvent(EventKind.USAGE, use=use)


def _read(text: str) -> Judgement:
    """Also where the model thought aloud before it, or put it into a block. Raises ValueError, with a sentence."""
    text = text.rpartition("</think>")[2]
    begin, end = text.find("{"), text.rfind("}") + 1
    try:
        return Judgement.model_validate_json(text[begin:end] if 0 <= begin < end else text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else str(first["msg"])) from None


def _told(judgement: Judgement) -> Iterable[AgentEvent]:
    for one in judgement.findings:
        place = "" if one.file is None else f"{one.file}{'' if one.line is None else f':{one.line}'}: "
        yield AgentEvent(EventKind.FINDING, f"{one.severity}: {place}{one.text}")
    for text in judgement.blockers:
        yield AgentEvent(EventKind.BLOCKER, text)
    yield AgentEvent(EventKind.MESSAGE, judgement.summary)
