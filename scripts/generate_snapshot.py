"""Writes wvo_mcp/front/snapshot.json from the server itself; with --check only says whether it is up to date (exit code 1).

These are the SDK server's own answers, so that the front can give them before the SDK is there (CORE-3).
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
from mcp.server import Server
from mcp.shared.message import SessionMessage
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from wvo_mcp.domain.lease import Caller
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.faces.mcp.face import Face
from wvo_mcp.faces.mcp.sdk import NOTIFIES, build_server
from wvo_mcp.front import opening
from wvo_mcp.operations import Container, tools
from wvo_mcp.ports import SILENT, Directives, Tracer

FILE = Path(opening.FILE)
METHODS = (
    "initialize",
    "server/discover",
    "ping",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
)
_CLIENT = {"name": "snapshot", "version": "1"}


async def recorded(directives: Directives) -> dict[str, Any]:
    """{handshake: [versions], modern: [versions], toolsets: {name: [tools]}, answers: {version: {method: answer}}}.

    An answer is {result} or {error}. The newest handshake version has all of them, every other version those that
    differ, and of a result only the keys that differ, as {but}. `directives` are those that every workspace has.
    """
    # Lists touch no store and no roadmap.
    services = Container({Directives: directives, Tracer: SILENT})
    caller = Caller(agent_id="snapshot", session_id="snapshot")
    server = build_server(Face(services, lambda _: caller, None, lambda: None))
    whole = {
        version: await _answers(server, version)
        for version in (*HANDSHAKE_PROTOCOL_VERSIONS, *MODERN_PROTOCOL_VERSIONS)
    }
    base = whole[HANDSHAKE_PROTOCOL_VERSIONS[-1]]
    toolsets: dict[str, list[str]] = {}
    for operation in tools():
        toolsets.setdefault(operation.toolset, []).append(operation.name)
    return {
        "handshake": list(HANDSHAKE_PROTOCOL_VERSIONS),
        "modern": list(MODERN_PROTOCOL_VERSIONS),
        "toolsets": toolsets,
        "answers": {
            version: answers if answers is base else _difference(base, answers) for version, answers in whole.items()
        },
    }


async def _answers(server: Server[Any], version: str) -> dict[str, Any]:
    """The answer to each of METHODS on a fresh connection of this version."""
    modern = version in MODERN_PROTOCOL_VERSIONS
    prefix = "io.modelcontextprotocol/"
    envelope = {f"{prefix}protocolVersion": version, f"{prefix}clientCapabilities": {}, f"{prefix}clientInfo": _CLIENT}
    hello = {"protocolVersion": version, "capabilities": {}, "clientInfo": _CLIENT}
    asked = [method for method in METHODS if not (modern and method == "initialize")]
    to_server, from_client = anyio.create_memory_object_stream[SessionMessage | Exception](len(asked))
    to_client, from_server = anyio.create_memory_object_stream[SessionMessage](len(asked))
    answers: dict[str, Any] = {}
    missing = {"ping"} if modern else {"server/discover"}
    async with anyio.create_task_group() as group, from_server, to_server:
        group.start_soon(server.run, from_client, to_client, server.create_initialization_options(NOTIFIES))
        for method in asked:
            params: dict[str, Any] = {"_meta": envelope} if modern else hello if method == "initialize" else {}
            request = types.JSONRPCRequest(jsonrpc="2.0", id=method, method=method, params=params)
            await to_server.send(SessionMessage(request))
            answer = (await from_server.receive()).message.model_dump(mode="json", by_alias=True, exclude_unset=True)
            answers[method] = {name: answer[name] for name in ("result", "error") if name in answer}
            if ("error" in answer) != (method in missing):
                raise RuntimeError(f"{method} at {version} cannot be recorded: {answer}")
        group.cancel_scope.cancel()
    return answers


def _difference(base: Mapping[str, Any], answers: Mapping[str, Any]) -> dict[str, Any]:
    different: dict[str, Any] = {}
    for method, answer in answers.items():
        if answer == base[method]:
            continue
        before, now = base[method].get("result"), answer.get("result")
        if before is not None and now is not None and before.keys() <= now.keys():
            answer = {"but": {key: value for key, value in now.items() if before.get(key) != value}}
        different[method] = answer
    return different


def main() -> int:
    with tempfile.TemporaryDirectory() as empty:
        taken = anyio.run(recorded, DirectiveFiles(Path(empty)))
    text = json.dumps(taken, indent=1, sort_keys=False) + "\n"
    if FILE.is_file() and FILE.read_text() == text:
        return 0
    if "--check" in sys.argv[1:]:
        print(f"{FILE.name} differs from the server; run scripts/snapshot", file=sys.stderr)
        return 1
    FILE.write_text(text)
    print(f"{FILE.name}: {len(text):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
