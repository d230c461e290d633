"""A server over HTTP that may be killed and started again at its address, and clients of `/mcp` by hand, of either era.

One thread uses a client.
"""

import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import IO, Any, cast

import httpx2

from tests.support.stdio_client import CALL_SECONDS, HANDSHAKE, MODERN, Gone, Message, given
from tests.support.workspace import Workspace

_META = "io.modelcontextprotocol/"
_ACCEPTED = {"accept": "application/json, text/event-stream"}
_HELLO = {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}}


class HttpServer:
    """`wvo-mcp serve --http` in a workspace. Its log is among those of the workspace."""

    def __init__(self, workspace: Workspace) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._workspace = workspace
        self.base = f"http://127.0.0.1:{self._port}"
        self.log = workspace.logs / "http.log"
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "wvo_mcp", "serve", "--http", "--no-run", "--port", str(self._port)],
                env=self._workspace.environ(),
                cwd=self._workspace.root,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        line = cast("IO[bytes]", self.process.stdout).readline().decode().strip()
        assert line == self.base, self.log.read_text()
        return self.process

    def kill(self) -> None:
        """SIGKILL, at whatever it is doing."""
        self.process.kill()
        self.process.wait(CALL_SECONDS)
        cast("IO[bytes]", self.process.stdout).close()

    def __enter__(self) -> "HttpServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class HttpClient:
    """As an agent of this name, or without one. A session of the older protocol that the server does not know is opened
    anew, as clients do."""

    def __init__(self, base: str, *, era: str = MODERN, agent_id: str | None = None, **headers: str) -> None:
        named = {} if agent_id is None else {"wvo-agent-id": agent_id}
        self._http = httpx2.Client(base_url=base, headers={**_ACCEPTED, **named, **headers}, timeout=CALL_SECONDS)
        self._era = era
        self._session: dict[str, str] = {}
        self._last_id = 0

    def open(self) -> "HttpClient":
        """Raises Gone."""
        if self._era == MODERN:
            self.result("server/discover")
        else:
            self._session = {}
            answer = self._sent("initialize", _HELLO)
            self._session = {"mcp-session-id": answer.headers["mcp-session-id"], "mcp-protocol-version": HANDSHAKE}
            self._posted({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return self

    def result(self, method: str, params: Mapping[str, Any] | None = None) -> Message:
        """The result of a request; an error of the protocol fails the test. Raises Gone."""
        answer = self._sent(method, dict(params or {}))
        if answer.status_code == 404 and self._session:
            self.open()
            answer = self._sent(method, dict(params or {}))
        text = answer.text
        if answer.headers["content-type"].startswith("text/event-stream"):
            data = [line for line in text.splitlines() if line.startswith("data:")]
            if not data:
                raise Gone("the server ended before it answered")
            text = data[-1].removeprefix("data:")
        message = json.loads(text)
        assert "result" in message, f"{method} answered {answer.status_code} {text}"
        return message["result"]

    def call(self, tool: str, arguments: Mapping[str, Any] | None = None, *, deadline: float = CALL_SECONDS) -> Message:
        """What a tool gives. Raises Refused, Gone."""
        return given(self.result("tools/call", {"name": tool, "arguments": dict(arguments or {})}))

    def end(self) -> None:
        """As a client that leaves."""
        if self._session:
            assert self._http.delete("/mcp", headers=self._session).status_code == 200
        self._http.close()

    def kill(self) -> None:
        """As a client that is killed."""
        self._http.close()

    @property
    def running(self) -> bool:
        return not self._http.is_closed

    def _sent(self, method: str, params: dict[str, Any]) -> httpx2.Response:
        self._last_id += 1
        headers = dict(self._session)
        if self._era == MODERN:
            client = {"name": "tests", "version": "1"}
            params["_meta"] = {
                f"{_META}protocolVersion": MODERN,
                f"{_META}clientCapabilities": {},
                f"{_META}clientInfo": client,
            }
            headers = {"mcp-protocol-version": MODERN, "mcp-method": method}
            headers |= {"mcp-name": params["name"]} if "name" in params else {}
        return self._posted({"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params}, headers)

    def _posted(self, message: Message, headers: Mapping[str, str] | None = None) -> httpx2.Response:
        try:
            return self._http.post("/mcp", json=message, headers=dict(self._session if headers is None else headers))
        except httpx2.TransportError as error:
            raise Gone(f"the server could not be asked: {error!r}") from None
