"""The wire: what comes in pieces, broken, too big, too early or too late."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.faces.mcp.served import a_face, served
from tests.front.peer import (
    INITIALIZED,
    PATIENCE,
    Peer,
    call,
    cancelled,
    initialize,
    modern,
    peer,
    request,
)
from wvo_mcp.domain.lease import Caller
from wvo_mcp.front import wire

pytestmark = pytest.mark.anyio

PARSE_ERROR, INVALID_REQUEST = -32700, -32600
BROKEN: list[tuple[bytes, int, Any]] = [
    (b'{"jsonrpc":"2.0","id":1,"method":', PARSE_ERROR, None),
    (b"hello", PARSE_ERROR, None),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}', PARSE_ERROR, None),
    (b'{"jsonrpc":"2.0","id":1,"method":"\xff\xfe"}', PARSE_ERROR, None),
    (b"[" * 100_000, PARSE_ERROR, None),
    (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', INVALID_REQUEST, None),
    (b'"ping"', INVALID_REQUEST, None),
    (b"{}", INVALID_REQUEST, None),
    (b'{"jsonrpc":"2.0","id":7}', INVALID_REQUEST, 7),
    (b'{"jsonrpc":"2.0","id":7,"method":5}', INVALID_REQUEST, 7),
    (b'{"jsonrpc":"2.0","id":"a","method":"ping","params":[1]}', INVALID_REQUEST, "a"),
    (b'{"jsonrpc":"1.0","id":7,"method":"ping"}', INVALID_REQUEST, 7),
    (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', INVALID_REQUEST, None),
    (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', INVALID_REQUEST, None),
    (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', INVALID_REQUEST, None),
    (b'{"jsonrpc":"2.0","id":{"a":1},"method":"ping"}', INVALID_REQUEST, None),
]
UNANSWERED = [
    b'{"jsonrpc":"2.0","id":1,"result":{}}',
    b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}',
    b'{"jsonrpc":"2.0","method":"notifications/odd","params":[]}',
    b"",
    b"   \t",
]


@pytest.fixture
def line() -> Iterator[Peer]:
    with peer() as here:
        yield here


@pytest.mark.parametrize(("broken", "code", "request_id"), BROKEN, ids=lambda value: repr(value)[:40])
def test_a_line_that_is_no_message_is_answered_with_an_error(
    line: Peer, broken: bytes, code: int, request_id: Any
) -> None:
    line.says(broken + b"\n", initialize())

    answer = line.hears()
    assert (answer["id"], answer["error"]["code"]) == (request_id, code)
    assert "result" in line.hears_only(0)


async def test_a_broken_line_is_answered_after_the_handover_as_before(line: Peer, tmp_path: Path) -> None:
    line.says(*(broken + b"\n" for broken, _, _ in BROKEN))
    before = [line.hears() for _ in BROKEN]
    line.says(initialize(), INITIALIZED)
    line.hears_only(0)

    async with served(line, a_face(tmp_path)):
        line.says(request("p", "resources/read", {"uri": "wvo://nothing"}))
        assert (await line.heard())[0]["id"] == "p"
        line.says(*(broken + b"\n" for broken, _, _ in BROKEN))
        assert await line.heard(len(BROKEN)) == before


@pytest.mark.parametrize("quiet", UNANSWERED, ids=repr)
def test_what_asks_for_nothing_is_not_answered(line: Peer, quiet: bytes) -> None:
    line.says(quiet + b"\n", initialize())

    line.hears_only(0)


def test_a_huge_line_is_discarded_and_what_follows_is_served(line: Peer) -> None:
    huge = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"' + b"x" * wire.LINE_BYTES + b'"}}\n'
    writer = threading.Thread(target=line.says, args=(huge, initialize()))
    writer.start()

    answer = line.hears()
    writer.join()
    assert (answer["id"], answer["error"]["code"]) == (None, INVALID_REQUEST)
    assert str(wire.LINE_BYTES) in answer["error"]["message"]
    line.hears_only(0)


def test_a_line_just_below_the_limit_is_served(line: Peer) -> None:
    frame = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"%s"}}'
    full = frame.replace(b"%s", b"x" * (wire.LINE_BYTES - len(frame) + 2))
    assert len(full) == wire.LINE_BYTES
    writer = threading.Thread(target=line.says, args=(full + b"\n",))
    writer.start()

    assert line.hears_only(1)["result"] == {}
    writer.join()


def test_lines_may_end_in_crlf_and_arrive_in_pieces(line: Peer) -> None:
    first = json.dumps(initialize()).encode()
    line.says(first[:30])
    line.says(first[30:] + b"\r\n\r\n")

    line.hears_only(0)


def test_the_last_line_needs_no_newline(line: Peer) -> None:
    line.says(json.dumps(initialize()).encode())
    line.stops_talking()

    line.hears_only(0)


def test_a_last_line_that_was_cut_is_an_error_and_no_call(line: Peer) -> None:
    line.says(json.dumps(initialize()).encode()[:-1])
    line.stops_talking()

    assert line.hears()["error"]["code"] == PARSE_ERROR


def test_an_id_that_utf8_cannot_hold_comes_back_as_it_was(line: Peer) -> None:
    line.says(b'{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}\n')

    assert line.hears()["id"] == "\ud800"


async def test_an_id_that_utf8_cannot_hold_comes_back_after_the_handover_too(line: Peer, tmp_path: Path) -> None:
    line.says(initialize(), INITIALIZED)
    line.hears_only(0)
    async with served(line, a_face(tmp_path)):
        line.says(b'{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}\n')

        assert (await line.heard())[0]["id"] == "\ud800"


async def test_an_early_tool_call_waits_for_the_server_and_is_answered_once(line: Peer, tmp_path: Path) -> None:
    line.says(initialize(), INITIALIZED, call(1, "get_task"), request(2, "tools/list"))
    assert line.hears_only(0)["result"]["serverInfo"]["name"] == "wvo"
    assert line.hears_only(2)["result"]["tools"]

    async with served(line, a_face(tmp_path)):
        early = (await line.heard())[0]
        assert early["id"] == 1
        assert early["result"]["structuredContent"]["error"]["code"] == "invalid_input"
        line.says(request(3, "ping"))
        assert (await line.heard())[0]["id"] == 3


async def test_a_cancelled_request_that_still_waited_never_reaches_the_server(line: Peer, tmp_path: Path) -> None:
    calls: list[str] = []
    line.says(initialize(), INITIALIZED, call(1, "plan_next"), call(2, "get_task"), cancelled(1), request(3, "ping"))
    line.hears_only(0)
    line.hears_only(3)

    async with served(line, a_face(tmp_path, heard=lambda: calls.append("heard"))):
        assert (await line.heard())[0]["id"] == 2
        line.says(request(4, "ping"))
        assert (await line.heard())[0]["id"] == 4
    assert calls == ["heard"]


async def test_a_cancelled_first_request_still_decides_the_era(line: Peer, tmp_path: Path) -> None:
    line.says(modern(1, "tools/call", name="plan_next", arguments={}), cancelled(1), modern(2, "tools/list"))
    line.hears_only(2)

    async with served(line, a_face(tmp_path)):
        line.says(initialize(3))
        refused = (await line.heard())[0]
    assert refused["id"] == 3
    assert refused["error"]["code"] == -32022


async def test_a_running_call_that_is_cancelled_is_not_answered_and_holds_nothing_up(
    line: Peer, tmp_path: Path
) -> None:
    running = anyio.Event()

    async def never(caller: Caller) -> Any:
        running.set()
        await anyio.sleep_forever()

    line.says(initialize(), INITIALIZED)
    line.hears_only(0)
    async with served(line, a_face(tmp_path, never)):
        line.says(call(1, "plan_next"))
        await running.wait()
        line.says(cancelled(1), request(2, "ping"))
        assert (await line.heard())[0]["id"] == 2


async def test_what_was_asked_before_the_client_closed_is_still_answered(line: Peer, tmp_path: Path) -> None:
    line.says(
        initialize(), INITIALIZED, call(1, "get_task"), call(2, "get_task"), request(3, "prompts/get", {"name": "x"})
    )
    line.stops_talking()

    async with served(line, a_face(tmp_path)):
        answers = await line.heard(4)
    assert sorted(answer["id"] for answer in answers) == [0, 1, 2, 3]


async def test_two_hundred_requests_in_one_write_are_answered_once_each(line: Peer, tmp_path: Path) -> None:
    asked = [call(number, "get_task") if number % 2 else request(number, "tools/list") for number in range(1, 201)]
    line.says(initialize(), INITIALIZED, *asked[:100])
    async with served(line, a_face(tmp_path)):
        line.says(*asked[100:])
        answers = await line.heard(201)
        line.says(request("last", "ping"))
        assert (await line.heard())[0]["id"] == "last"

    by_id = {answer["id"]: answer for answer in answers}
    assert len(by_id) == 201
    assert all("result" in answer for answer in answers)


async def test_a_client_that_does_not_read_holds_nobody_up_and_loses_nothing(line: Peer, tmp_path: Path) -> None:
    line.says(initialize(), INITIALIZED)
    line.hears_only(0)
    handled = 0

    def heard() -> None:
        nonlocal handled
        handled += 1

    async with served(line, a_face(tmp_path, heard=heard)):
        calls = [call(number, "none-of-these-tools" * 50) for number in range(1, 201)]
        await anyio.to_thread.run_sync(line.says, *calls)  # far more answers than a pipe holds
        with anyio.fail_after(PATIENCE):
            while handled < 200:
                await anyio.lowlevel.checkpoint()
        answers = await line.heard(200)
    assert sorted(answer["id"] for answer in answers) == list(range(1, 201))


async def test_a_client_that_stopped_reading_for_good_ends_the_conversation(line: Peer, tmp_path: Path) -> None:
    line.says(initialize(), INITIALIZED)
    line.hears_only(0)
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(a_face(tmp_path).serve, line.wire)
            line.stops_listening()
            line.says(request(1, "ping"))


async def test_a_wire_that_is_hung_up_gives_nothing_more(line: Peer) -> None:
    line.says(initialize(), call(1, "plan_next"))
    line.hears_only(0)
    line.wire.hang_up()

    assert await line.wire.receive() is None


async def test_hanging_up_wakes_who_waits(line: Peer) -> None:
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(line.wire.receive)
            await anyio.lowlevel.checkpoint()
            line.wire.hang_up()


def test_a_start_that_fails_answers_what_waits_and_what_comes(line: Peer) -> None:
    line.says(initialize(), INITIALIZED, call(1, "plan_next"), request(2, "ping"))
    line.hears_only(0)
    line.hears_only(2)
    line.wire.refuse("the disk is full")
    line.says(call(3, "plan_next"))

    for request_id in (1, 3):
        assert line.hears_only(request_id)["error"] == {"code": -32603, "message": "the disk is full"}


async def test_a_flood_waits_in_the_pipe_and_nothing_is_lost(line: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "INBOX_MESSAGES", 3)
    line.says(initialize())
    line.hears_only(0)
    writer = threading.Thread(target=line.says, args=[call(number, "plan_next") for number in range(1, 5_001)])
    writer.start()

    received = [await line.wire.receive() for _ in range(5_001)]
    writer.join()
    assert [message and message["id"] for message in received] == [line.wire.muted, *range(1, 5_001)]


async def test_more_calls_than_may_run_at_once_wait_their_turn(line: Peer, tmp_path: Path) -> None:
    most = running = 0
    free = anyio.Event()

    async def slow(caller: Caller) -> Any:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await free.wait()
        running -= 1
        raise KeyError("done")

    line.says(initialize(), INITIALIZED)
    line.hears_only(0)
    async with served(line, a_face(tmp_path, slow)):
        await anyio.to_thread.run_sync(line.says, *(call(number, "plan_next") for number in range(1, 401)))
        with anyio.fail_after(PATIENCE):
            while running < 256:
                await anyio.lowlevel.checkpoint()
        free.set()
        answers = await line.heard(400)
    assert sorted(answer["id"] for answer in answers) == list(range(1, 401))
    assert most <= 257
