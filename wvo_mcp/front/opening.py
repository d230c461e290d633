"""The opening of an MCP conversation: what can be answered before the SDK is there, and exactly as it would.

What the SDK might judge differently is left to it.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False  # typing itself would cost milliseconds
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypeGuard

    Call = tuple[str, dict[str, Any] | None, str | None, bool]

FILE = __file__.removesuffix("opening.py") + "snapshot.json"  # pathlib costs 3 ms


def load() -> dict[str, Any]:
    """What `scripts/snapshot` wrote: {handshake, modern, toolsets, answers}."""
    with open(FILE, "rb") as file:  # noqa: PTH123 - pathlib costs 3 ms
        return json.load(file)


class Record:
    """The SDK's own answers, recorded when the package was built."""

    def __init__(self, snapshot: Mapping[str, Any], toolsets: frozenset[str] | None = None) -> None:
        """`toolsets` None shows the tools of all."""
        self.handshake: list[str] = snapshot["handshake"]
        self.modern: list[str] = snapshot["modern"]
        self._answers: Mapping[str, Mapping[str, dict[str, Any]]] = snapshot["answers"]
        by_toolset: Mapping[str, list[str]] = snapshot["toolsets"]
        shown = by_toolset if toolsets is None else toolsets
        self._shown = {name for toolset in shown for name in by_toolset[toolset]}

    @property
    def stamp(self) -> dict[str, Any]:
        """What the SDK adds to every result of the modern protocol."""
        return self._answers[self.modern[-1]]["tools/list"]["but"]["_meta"]

    def answer(self, version: str, method: str) -> dict[str, Any] | None:
        """{"result": ...} or {"error": ...} at this protocol version; None when there is no record of it.

        The newest handshake version is recorded whole, the others as what differs from it.
        """
        base = self._answers[self.handshake[-1]]
        answer = self._answers.get(version, base).get(method) or base.get(method)
        if answer is not None and "but" in answer:
            answer = {"result": {**base[method]["result"], **answer["but"]}}
        if answer is not None and method == "tools/list":
            tools = [tool for tool in answer["result"]["tools"] if tool["name"] in self._shown]
            answer = {"result": {**answer["result"], "tools": tools}}
        return answer


_PREFIX = "io.modelcontextprotocol/"
_VERSION = f"{_PREFIX}protocolVersion"

# What the SDK surely takes, part by part. `!` marks what is required, `*` stands for every part.
_LEVELS = frozenset({"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"})
_ICON = {"src!": str, "mimeType": str, "sizes": [str], "theme": frozenset({"light", "dark"})}
_CLIENT = {"name!": str, "version!": str, "title": str, "description": str, "websiteUrl": str, "icons": [_ICON]}
_CAPABILITIES = {
    "elicitation": {"form": dict, "url": dict},
    "experimental": {"*": dict},
    "extensions": {"*": dict},
    "roots": {"listChanged": bool},
    "sampling": {"context": dict, "tools": dict},
    "tasks": {"list": dict, "cancel": dict, "requests": {"*": {"*": dict}}},
}
_META = {"progressToken": (str, int)}
_ENVELOPE = {
    **_META,
    f"{_VERSION}!": str,
    f"{_PREFIX}clientCapabilities!": _CAPABILITIES,
    f"{_PREFIX}clientInfo": _CLIENT,
    f"{_PREFIX}logLevel": _LEVELS,
}
_INITIALIZE = {"_meta": _META, "protocolVersion!": str, "capabilities!": _CAPABILITIES, "clientInfo!": _CLIENT}
_FLAGS = {"toolsListChanged": bool, "promptsListChanged": bool, "resourcesListChanged": bool}
_LISTEN = {"_meta!": _ENVELOPE, "notifications!": {**_FLAGS, "resourceSubscriptions": [str]}}


def fits(value: Any, shape: Any) -> bool:
    """True when every part that the shape names is there or not needed, and of its type."""
    if _is_list(shape):
        return _is_list(value) and all(fits(part, shape[0]) for part in value)
    if isinstance(shape, frozenset):
        return isinstance(value, str) and value in shape
    if not is_object(shape):
        return isinstance(value, shape) and (shape is bool or not isinstance(value, bool))
    if not is_object(value):
        return False
    for name, wanted in shape.items():
        if name == "*":
            return all(fits(part, wanted) for part in value.values())
        part = value.get(name.removesuffix("!"))
        if name.endswith("!") if part is None else not fits(part, wanted):
            return False
    return True


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _params(request: dict[str, Any]) -> dict[str, Any]:
    return request.get("params") or {}


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


class Opening:
    """What the first request decided, and what can be answered at once."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._modern = False
        self._version: str | None = None
        """None until a handshake is accepted; a modern connection has its version from the start."""
        self._client: str | None = None

    def begin(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """The first request decides the era, as in the SDK. Returns what makes the SDK decide alike when it is loaded
        later, whatever becomes of the request; None when the request does that itself."""
        meta = _params(request).get("_meta")
        self._modern = request["method"] != "initialize" and is_object(meta) and _VERSION in meta
        if self._modern:
            self._version = self._record.modern[-1]
            return {"jsonrpc": "2.0", "method": "server/discover", "params": {"_meta": meta}}
        return None if request["method"] == "initialize" else {"jsonrpc": "2.0", "method": "ping"}

    def answer(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """The recorded answer, or None for what only the SDK can judge."""
        method, params = request["method"], _params(request)
        if not self._plain(request) or params.get("cursor") is not None:
            return None
        if not self._modern and method == "initialize":
            return self._initialized(params)
        if self._version is None and method != "ping":
            return None
        return self._record.answer(self._version or self._record.handshake[-1], method)

    def _plain(self, request: dict[str, Any]) -> bool:
        """Would the SDK surely take the envelope of this request?"""
        given = _params(request).get("_meta")
        meta: Any = {} if given is None else given
        if self._modern:
            return fits(meta, _ENVELOPE) and meta[_VERSION] in self._record.modern and request["method"] != "initialize"
        return fits(meta, _META) and _VERSION not in meta

    def call(self, request: dict[str, Any]) -> Call | None:
        """A call of a tool that the SDK would surely let through: its name, its arguments, the client's name, and whether
        the protocol is the modern one. None for what only the SDK can judge."""
        if (
            request["method"] != "tools/call"
            or "id" not in request
            or self._version is None
            or not self._plain(request)
        ):
            return None
        params = _params(request)
        name, arguments = params.get("name"), params.get("arguments")
        if not isinstance(name, str) or not (arguments is None or is_object(arguments)):
            return None
        if not self._modern:
            return name, arguments, self._client, False
        client: dict[str, Any] = params["_meta"].get(f"{_PREFIX}clientInfo") or {}
        return name, arguments, client.get("name"), True

    def shaped(self, result: dict[str, Any], *, modern: bool) -> dict[str, Any]:
        """A result of the newest protocol, as this one has it: the older ones know no resultType."""
        if modern:
            return {**result, "_meta": self._record.stamp}
        return {name: part for name, part in result.items() if name != "resultType"}

    def _initialized(self, params: dict[str, Any]) -> dict[str, Any] | None:
        if self._version is not None or not fits(params, _INITIALIZE):
            return None
        wanted = params["protocolVersion"]
        version: str = wanted if wanted in self._record.handshake else self._record.handshake[-1]
        self._version = version
        self._client = params["clientInfo"]["name"]
        return self._record.answer(version, "initialize")

    def acknowledgement(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """Clients wait for this before their first turn; the stream itself is served by the SDK."""
        params: Any = request.get("params")
        if not self._modern or request["method"] != "subscriptions/listen" or not fits(params, _LISTEN):
            return None
        wanted = params["notifications"]
        kept: dict[str, Any] = {name: True for name in _FLAGS if wanted.get(name)}
        if wanted.get("resourceSubscriptions"):
            kept["resourceSubscriptions"] = wanted["resourceSubscriptions"]
        about = {"_meta": {f"{_PREFIX}subscriptionId": request["id"]}, "notifications": kept}
        return {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": about}
