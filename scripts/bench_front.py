"""Figures of the front: from process start to the first reply, and what one call costs over stdio, each beside its floor.

`python scripts/bench_front.py` prints them as JSON; scripts/bench imports the functions. Times are milliseconds.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

CLIENT = {"name": "bench", "version": "1"}
HELLO: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": CLIENT},
}
INITIALIZED: dict[str, Any] = {"jsonrpc": "2.0", "method": "notifications/initialized"}
TOOLS = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
SERVER = (sys.executable, "-m", "wvo_mcp")


def ask(server: subprocess.Popen[bytes], *messages: dict[str, Any]) -> dict[str, Any]:
    """Write the messages at once and read one answer. Raises RuntimeError when it is an error."""
    if server.stdin is None or server.stdout is None:
        raise RuntimeError("the server has no pipes")
    if messages:
        server.stdin.write(b"".join(json.dumps(message).encode() + b"\n" for message in messages))
        server.stdin.flush()
    answer = json.loads(server.stdout.readline())
    if "result" not in answer:
        raise RuntimeError(f"{messages} was answered {answer}")
    return answer


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p99 and the largest, in milliseconds."""
    ordered = sorted(seconds)
    return {
        "p50": round(statistics.median(ordered) * 1e3, 3),
        "p99": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1e3, 3),
        "max": round(ordered[-1] * 1e3, 3),
    }


def start_to_reply(runs: int = 20, command: Sequence[str] = SERVER) -> dict[str, dict[str, float]]:
    """From process start to the answered handshake and to the tool list; the floor is `python -c pass`."""
    first: list[float] = []
    tools: list[float] = []
    floor: list[float] = []
    with tempfile.TemporaryDirectory() as root:
        environ = {**os.environ, "ROOT": root}
        for _ in range(runs):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", "pass"], check=True)
            floor.append(time.perf_counter() - began)
            began = time.perf_counter()
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as server:
                ask(server, HELLO, INITIALIZED, TOOLS)
                first.append(time.perf_counter() - began)
                ask(server)
                tools.append(time.perf_counter() - began)
                server.kill()
    return {"first_reply": spread(first), "tools": spread(tools), "floor": spread(floor)}


def call_cost(calls: int = 3_000) -> dict[str, dict[str, float]]:
    """One call of a tool that does nothing, over our wire; the floor is the SDK's own stdio transport."""
    return {transport: spread(_calls(transport, calls)) for transport in ("wire", "floor")}


def _calls(transport: str, calls: int) -> list[float]:
    command = [sys.executable, __file__, "--serve", transport]
    seconds: list[float] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        ask(server, HELLO, INITIALIZED)
        for number in range(1, calls + calls // 10):
            request = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": "nothing"}}
            began = time.perf_counter()
            ask(server, request)
            seconds.append(time.perf_counter() - began)
        server.kill()
    return seconds[calls // 10 :]  # the first ones warm up


def serve(transport: str) -> None:
    """A server whose one tool does nothing, over the transport that is measured."""
    # Late: the process that measures must stay small.
    import mcp_types as types
    from mcp.server import Server
    from mcp.server.stdio import stdio_server

    from wvo_mcp.domain.lease import Caller
    from wvo_mcp.faces.mcp.face import Face, success
    from wvo_mcp.front.opening import Opening, Record, load
    from wvo_mcp.front.wire import Wire
    from wvo_mcp.operations import Container
    from wvo_mcp.ports import SILENT, Tracer

    async def call_tool(_: object, params: types.CallToolRequestParams) -> types.CallToolResult:
        return types.CallToolResult(content=[types.TextContent(text='{"ok":true}')], structured_content={"ok": True})

    server: Server[Any] = Server("nothing", version="1", on_call_tool=call_tool)

    async def over_stdio() -> None:
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())

    if transport == "floor":
        asyncio.run(over_stdio())
        return
    sys.setswitchinterval(0.0005)  # as the front does
    wire = Wire(os.dup(0), os.dup(1), Opening(Record(load())))
    wire.start()

    class Nothing(Face):
        async def call_tool(self, *_: object, **__: object) -> dict[str, Any]:
            return success({"ok": True})

    face = Nothing(Container({Tracer: SILENT}), lambda _: Caller("a", "s"), frozenset(), lambda: None)
    asyncio.run(face.serve(wire))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2])
    else:
        print(json.dumps({"start": start_to_reply(), "call": call_cost()}, indent=2))
