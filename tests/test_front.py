"""The server as a process: what a client sees from its first byte to the last."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import wvo_mcp
from tests.front.peer import INITIALIZED, Line, Message, call, cancelled, initialize, modern, program, request
from tests.support.waiting import eventually
from wvo_mcp.front.opening import load

FAKE_APP = """
import sys, types
app = types.ModuleType("wvo_mcp.app")
exec({body!r}, app.__dict__)
sys.modules["wvo_mcp.app"] = app
import wvo_mcp
wvo_mcp.app = app
from wvo_mcp.front.start import main
sys.exit(main())
"""
"""The front with another application behind it."""


RECEIVING = """
async def serve(wire, toolsets):
    while await wire.receive() is not None:
        pass
    return 0
"""


def fake(body: str) -> tuple[str, str]:
    return "-c", FAKE_APP.format(body=body)


def hello(line: Line) -> None:
    line.says(initialize(0), INITIALIZED)
    line.hears_only(0)


@pytest.mark.requirement("CORE-1")
def test_what_is_piped_in_is_answered_and_nothing_else_is_printed(tmp_path: Path) -> None:
    asked = [
        initialize(0),
        INITIALIZED,
        call(1, "context_write", {"topic": "t", "content": "c"}),
        call(2, "plan_next"),
        request(3, "tools/list"),
    ]
    with program(tmp_path) as server:
        server.says(*asked)
        server.stops_talking()
        answers = {answer["id"]: answer for answer in (server.hears() for _ in range(4))}
        assert server.ends()[0] == 0
        assert sorted(answers) == [0, 1, 2, 3]
        assert answers[1]["result"]["structuredContent"] == {"topic": "t", "version": 1}
        server.hears_the_end()


@pytest.mark.requirement("CORE-1")
def test_stray_output_of_the_program_and_its_children_stays_off_the_wire(tmp_path: Path) -> None:
    body = """
import os, subprocess
async def serve(wire, toolsets):
    print("stray", flush=True)
    subprocess.run(["sh", "-c", "echo child; cat"], check=True)
    while await wire.receive() is not None:
        pass
    return 0
"""
    with program(tmp_path, *fake(body)) as server:
        server.says(initialize(0), request(1, "ping"))
        server.hears_only(0)
        server.hears_only(1)
        server.stops_talking()
        code, stderr = server.ends()
        server.hears_the_end()
    assert code == 0
    assert stderr == "stray\nchild\n"


GATED = """
import os
import re
async def _serve(wire, toolsets):
    while await wire.receive() is not None:
        pass
    return 0
def __getattr__(name):
    if name != "serve":
        raise AttributeError(name)
    open(os.environ["GATE"]).close()
    return _serve
"""
"""An application that cannot be loaded before somebody opens the gate."""


@pytest.mark.requirement("CORE-3")
def test_the_handshake_the_lists_and_the_probe_need_nothing_of_the_application(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    for asked in (
        [initialize(0), INITIALIZED, request(1, "tools/list")],
        [modern(0, "server/discover"), modern(1, "tools/list")],
    ):
        with program(tmp_path, *fake(GATED), GATE=str(gate)) as server:
            server.says(*asked)
            server.hears_only(0)
            tools = server.hears_only(1)["result"]["tools"]
            gate.open("w").close()
            server.stops_talking()
            assert server.ends() == (0, "")
        assert {"plan_next", "claim_task"} <= {tool["name"] for tool in tools}


def started(root: Path, *asked: Message) -> tuple[float, float]:
    """Seconds from the start of a server to its answer to the last but one of these requests, and to the last."""
    began = time.monotonic()
    with program(root) as server:
        server.says(*asked)
        *early, last = (message["id"] for message in asked if "id" in message)
        for request_id in early:
            server.hears_only(request_id)
        at_once = time.monotonic() - began
        server.hears_only(last)
        return at_once, time.monotonic() - began


@pytest.mark.requirement("CORE-3")
@pytest.mark.parametrize(
    "asked",
    [
        (initialize(0), INITIALIZED, request(1, "tools/list"), call(2, "plan_next")),
        (
            modern(0, "server/discover"),
            modern(1, "tools/list"),
            modern(2, "tools/call", name="plan_next", arguments={}),
        ),
    ],
    ids=["handshake", "modern"],
)
def test_the_first_answers_come_long_before_the_sdk_is_there(tmp_path: Path, asked: tuple[Message, ...]) -> None:
    measured: list[tuple[float, float, float]] = []
    for _ in range(6):  # what else the machine does can only add to a time, so the quickest start tells
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        bare = time.monotonic() - began
        at_once, served = started(tmp_path, *asked)
        if at_once < max(1.0, 20 * bare) and at_once < served / 2:
            return
        measured.append((bare, at_once, served))
    pytest.fail(f"seconds of a bare interpreter, of the first answers, of the first call: {measured}")


@pytest.mark.requirement("CORE-3")
def test_the_front_loads_nothing_but_the_standard_library() -> None:
    code = "import sys; before = set(sys.modules); import {}; print(*set(sys.modules) - before)"
    loading = code.format("wvo_mcp.__main__, wvo_mcp.front.start")
    listed = subprocess.run([sys.executable, "-c", loading], capture_output=True, text=True, check=True).stdout.split()

    foreign = {name for name in listed if name.partition(".")[0] not in sys.stdlib_module_names}
    allowed = ("wvo_mcp.__main__", "wvo_mcp.front.", "wvo_mcp.project")
    assert {name for name in foreign if not name.startswith(allowed)} == {"wvo_mcp", "wvo_mcp.front"}
    assert not {"typing", "asyncio", "pathlib", "dataclasses", "subprocess"} & set(listed)


@pytest.mark.parametrize("value", ["core,nonsense", "nonsense"])
def test_an_unknown_toolset_stops_the_start_with_one_line(tmp_path: Path, value: str) -> None:
    with program(tmp_path, WVO_TOOLSETS=value) as server:
        code, stderr = server.ends()

    assert code == 2
    assert stderr.count("\n") == 1
    assert all(word in stderr for word in ("WVO_TOOLSETS", "'nonsense'", "core", "all"))


@pytest.mark.parametrize(("value", "toolsets"), [("", {"core"}), (" plan , core", {"plan", "core"}), ("all", None)])
def test_the_toolsets_that_are_named_are_shown(tmp_path: Path, value: str, toolsets: set[str] | None) -> None:
    snapshot = load()
    with program(tmp_path, WVO_TOOLSETS=value) as server:
        hello(server)
        server.says(request(1, "tools/list"))
        shown = {tool["name"] for tool in server.hears()["result"]["tools"]}

    wanted = toolsets if toolsets is not None else snapshot["toolsets"]
    assert shown == {name for toolset in wanted for name in snapshot["toolsets"][toolset]}


def test_the_settings_file_names_them_too_and_a_misspelt_variable_is_told(tmp_path: Path) -> None:
    snapshot = load()
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "settings.yaml").write_text("toolsets: [plan]\n")
    with program(tmp_path, WVO_LEASE_SECOND="9") as server:
        hello(server)
        server.says(request(1, "tools/list"))
        shown = {tool["name"] for tool in server.hears()["result"]["tools"]}
        server.stops_talking()
        _, stderr = server.ends()

    assert shown == set(snapshot["toolsets"]["plan"])
    assert "WVO_LEASE_SECOND is not a setting. Did you mean WVO_LEASE_SECONDS?" in stderr


def test_a_store_that_cannot_be_served_is_told_to_the_client_and_the_person(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "state.db").write_text("This is no database. " * 200)
    with program(tmp_path) as server:
        server.says(initialize(0), INITIALIZED, call(1, "plan_next"))
        server.hears_only(0)
        refused = server.hears_only(1)
        code, stderr = server.ends()

    assert code == 1
    assert refused["error"]["code"] == -32603
    assert "is not a SQLite database" in refused["error"]["message"]
    assert stderr.count("\n") == 1
    assert "is not a SQLite database" in stderr


def test_a_wrong_setting_is_told_to_the_client_and_the_person(tmp_path: Path) -> None:
    with program(tmp_path, WVO_LEASE_SECONDS="0") as server:
        server.says(initialize(0), INITIALIZED, call(1, "plan_next"))
        server.hears_only(0)
        assert "WVO_LEASE_SECONDS" in server.hears_only(1)["error"]["message"]
        code, stderr = server.ends()

    assert code == 2
    assert stderr.count("\n") == 1
    assert "WVO_LEASE_SECONDS" in stderr


def test_a_defect_at_the_start_is_one_line_with_its_place(tmp_path: Path) -> None:
    with program(tmp_path, *fake("async def serve(wire, toolsets):\n    return 1 / 0\n")) as server:
        server.says(call(1, "plan_next"))
        assert server.hears_only(1)["error"]["code"] == -32603
        code, stderr = server.ends()

    assert code == 1
    assert stderr.count("\n") == 1
    assert "ZeroDivisionError" in stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_standard_stream_that_is_closed_hurts_nobody(tmp_path: Path, closed: str) -> None:
    served = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, *fake(RECEIVING)],
        input=json.dumps(request(1, "ping")).encode(),
        capture_output=True,
        env={"ROOT": str(tmp_path), "PYTHONPATH": str(Path(wvo_mcp.__path__[0]).parent)},
        timeout=120,
    )

    assert (served.returncode, served.stderr) == (0, b"")
    assert served.stdout == (b'{"jsonrpc":"2.0","id":1,"result":{}}\n' if closed == "2>&-" else b"")


def test_nothing_to_read_ends_the_server_cleanly(tmp_path: Path) -> None:
    with program(tmp_path) as server:
        server.stops_talking()
        assert server.ends() == (0, "")


def test_a_client_that_stopped_reading_ends_the_server_cleanly(tmp_path: Path) -> None:
    with program(tmp_path) as server:
        hello(server)
        server.stops_listening()
        server.says(call(1, "plan_next"))
        assert server.ends() == (0, "")


ENDS = [signal.SIGTERM, signal.SIGINT, *([] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP])]
"""Under nohup a server outlives its terminal."""


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_while_the_sdk_is_loaded_ends_the_server_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with program(tmp_path) as server:
        hello(server)
        server.process.send_signal(number)
        assert server.ends() == (0, "")


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_ends_the_session_and_the_server_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with program(tmp_path) as server:
        hello(server)
        server.says(call(1, "context_write", {"topic": "t", "content": "c"}))
        server.hears_only(1)
        server.process.send_signal(number)
        assert server.ends() == (0, "")

    assert stored(tmp_path, "SELECT count(*) FROM sessions WHERE ended_at IS NULL") == 0


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells when a signal was delivered")
def test_a_group_that_is_told_twice_ends_as_cleanly(tmp_path: Path) -> None:
    def delivered() -> bool | None:
        if server.process.poll() is not None:
            return True
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        pending = re.search(r"^ShdPnd:\s*(\w+)$", status, re.MULTILINE)
        return pending is None or not int(pending[1], 16) >> (signal.SIGTERM - 1) & 1

    with program(tmp_path) as server:
        hello(server)
        server.says(call(1, "context_write", {"topic": "t", "content": "c"}))
        server.hears_only(1)
        for _ in range(20):
            server.process.send_signal(signal.SIGTERM)
            eventually(delivered, every=0.001)
        assert server.ends() == (0, "")

    assert stored(tmp_path, "SELECT count(*) FROM sessions WHERE ended_at IS NULL") == 0


def test_the_session_keeps_its_agent_when_the_sdk_hears_the_handshake_again(tmp_path: Path) -> None:
    (tmp_path / "directives").mkdir()
    (tmp_path / "directives" / "rules.md").write_text("# Rules\n")  # it loads the SDK after the handshake
    with program(tmp_path) as server:
        server.says(initialize(0), call(1, "context_write", {"topic": "t", "content": "c"}))
        assert [server.hears()["id"], server.hears()["id"]] == [0, 1]
        named = stored(tmp_path, "SELECT agent_id FROM events WHERE kind = 'context.written'")
        server.says(INITIALIZED)
        assert server.hears()["method"] == "notifications/resources/list_changed"
        server.stops_talking()
        assert server.ends() == (0, "")

    assert stored(tmp_path, "SELECT agent_id FROM events WHERE kind = 'session.ended'") == named
    assert stored(tmp_path, "SELECT agent_id FROM sessions") == named


@pytest.mark.requirement("CORE-11")
@pytest.mark.parametrize("number", [signal.SIGKILL, None], ids=["killed", "closed"])
def test_what_was_acknowledged_is_on_disk_when_the_client_vanishes(tmp_path: Path, number: int | None) -> None:
    with program(tmp_path) as server:
        hello(server)
        for version in range(1, 6):
            server.says(call(version, "context_write", {"topic": "t", "content": f"c{version}"}))
            assert server.hears_only(version)["result"]["structuredContent"]["version"] == version
        if number is not None:
            server.process.send_signal(number)
        server.stops_talking()
        server.ends()

    assert stored(tmp_path, "SELECT count(*) FROM context_entries WHERE topic = 't'") == 5


def test_a_request_that_was_cancelled_while_it_waited_has_no_effect(tmp_path: Path) -> None:
    write = call(1, "context_write", {"topic": "t", "content": "c"})
    with program(tmp_path) as server:
        server.says(initialize(0), INITIALIZED, write, cancelled(1), call(2, "plan_next"))
        server.hears_only(0)
        server.hears_only(2)
        server.stops_talking()
        assert server.ends()[0] == 0

    assert not (tmp_path / "state").exists()  # it would have been the first write


def stored(root: Path, query: str) -> Any:
    with closing(sqlite3.connect(root / "state" / "state.db")) as database:
        return database.execute(query).fetchone()[0]
