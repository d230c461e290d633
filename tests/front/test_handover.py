"""The handover, at any moment of any conversation: nothing is lost, repeated or made up."""

import importlib
import json
from collections import Counter
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faces.mcp.served import a_face, served
from tests.front.peer import INITIALIZED, PATIENCE, Message, cancelled, initialize, modern, peer, request

# Loaded in the middle of an example instead, it meets a defect of CPython 3.11 (gh-106905).
importlib.import_module("hypothesis.internal.conjecture.optimiser")

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CORE-2")]

JUNK = [b"junk\n", b"\n", b'{"jsonrpc":"2.0","id":null,"method":"ping"}\n', b'{"jsonrpc":"2.0","id":"r","result":{}}\n']
METHODS = ["tools/list", "prompts/list", "resources/templates/list", "ping", "no/such/method"]


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[Message | bytes], str]:
    """What a client says, in order, and its era. Ids of requests are 1, 2, 3 and so on."""
    era = draw(st.sampled_from(["handshake", "modern", "neither"]))
    said: list[Message | bytes] = [initialize(0), INITIALIZED] if era == "handshake" else []
    for number in range(1, draw(st.integers(1, 12)) + 1):
        kind = draw(st.sampled_from(["list", "call", "junk", "cancel"]))
        if kind == "junk":
            said.append(draw(st.sampled_from(JUNK)))
        if kind == "cancel" and number > 1:
            said.append(cancelled(draw(st.integers(1, number - 1))))
        method = draw(st.sampled_from(METHODS)) if kind != "call" else "tools/call"
        params: Message = {"name": "get_task", "arguments": {}} if kind == "call" else {}
        said.append(modern(number, method, **params) if era == "modern" else request(number, method, params))
    return said, era


@settings(max_examples=40)
@given(conversation=conversations(), data=st.data())
async def test_every_request_is_answered_once_wherever_the_handover_falls(
    conversation: tuple[list[Message | bytes], str], data: st.DataObject, tmp_path: Path
) -> None:
    said, _ = conversation
    stream = b"".join(part if isinstance(part, bytes) else json.dumps(part).encode() + b"\n" for part in said)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    before = data.draw(st.integers(0, len(pieces)))
    requests = [part for part in said if isinstance(part, dict) and "id" in part]
    given_up = {
        part["params"]["requestId"] for part in said if isinstance(part, dict) and "cancelled" in part["method"]
    }

    answers: list[Message] = []

    async def listen() -> None:
        answers.extend(await anyio.to_thread.run_sync(line.hears_all))

    with peer() as line, anyio.fail_after(PATIENCE):
        line.says(*pieces[:before])
        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            async with served(line, a_face(tmp_path)):
                for piece in pieces[before:]:
                    line.says(piece)
                    await anyio.lowlevel.checkpoint()
            await anyio.to_thread.run_sync(line.server_leaves)

    counted = Counter(answer["id"] for answer in answers)
    assert set(counted) <= {None, *(asked["id"] for asked in requests)}
    for asked in requests:
        least = 0 if asked["id"] in given_up else 1
        assert least <= counted[asked["id"]] <= 1, (asked, answers)
    assert counted[None] == said.count(JUNK[0]) + said.count(JUNK[2])
