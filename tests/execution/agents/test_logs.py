"""A worker's log as people read it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.workspace import REPOSITORY
from wvo_mcp.errors import Forbidden, NotFound
from wvo_mcp.execution.agents.logs import WorkerLogFiles

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WORK-10")]


def _logs(tmp_path: Path, *lines: bytes | dict[str, Any]) -> tuple[WorkerLogFiles, str]:
    log = tmp_path / "workers" / "w-1" / "stream.jsonl"
    log.parent.mkdir(parents=True)
    head = b'{"wvo": "log", "driver": "scripted"}\n'
    log.write_bytes(
        head + b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in lines)
    )
    return WorkerLogFiles(tmp_path / "workers"), str(log)


def _append(log: str, part: bytes) -> None:
    with Path(log).open("ab") as file:
        file.write(part)


def _begin(log: str, driver: str) -> None:
    Path(log).write_text(Path(log).read_text().replace("scripted", driver))


def _size(log: str) -> int:
    return Path(log).stat().st_size


async def test_each_act_is_a_line_and_what_is_used_is_none(tmp_path: Path) -> None:
    logs, log = _logs(
        tmp_path,
        {"kind": "started", "session": "s1"},
        {"kind": "message", "text": "I read\nthe code."},
        {"kind": "tool_call", "tool": "Bash", "text": "npm test", "status": "running"},
        {"kind": "tool_call", "tool": "Bash", "text": "", "status": "failed"},
        {"kind": "permission", "id": "r1", "text": "git push"},
        {"kind": "usage"},
        b'{"wvo":"left out","bytes":12345}',
        b"npm warn deprecated",
        {"kind": "stop", "text": "All done.", "status": "done"},
    )

    page = await logs.read(log, None, raw=False)

    assert page.lines == [
        "-- session s1",
        "I read the code.",
        "> Bash npm test",
        "  failed: Bash",
        "asks: Bash git push",
        "[12,345 bytes were left out here]",
        "npm warn deprecated",
        "-- done: All done.",
    ]
    assert not page.more
    assert (await logs.read(log, page.next, raw=False)).lines == []


async def test_it_goes_on_where_it_ended_and_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    logs, log = _logs(tmp_path, {"kind": "message", "text": "one"})
    page = await logs.read(log, 0, raw=False)
    _append(log, b'{"kind": "message", ')
    assert (await logs.read(log, page.next, raw=False)).lines == []
    _append(log, b'"text": "two"}\n')

    assert (await logs.read(log, page.next, raw=False)).lines == ["two"]


async def test_a_page_fits_a_result_whatever_the_log_holds(tmp_path: Path) -> None:
    logs, log = _logs(tmp_path, *(b"x" * 1_000 for _ in range(500)), b"y" * 1_000_000, b"end")

    at, pages, seen = 0, 0, 0
    while True:
        page = await logs.read(log, at, raw=True)
        if page.next == at:
            break
        at, pages, seen = page.next, pages + 1, seen + len(page.lines)
        assert sum(map(len, page.lines)) <= 13_000
    assert at == _size(log)
    assert seen >= 502


async def test_a_log_that_became_shorter_is_read_from_its_end(tmp_path: Path) -> None:
    logs, log = _logs(tmp_path, b"one")

    assert (await logs.read(log, 10_000, raw=True)).lines[-1] == "one"


async def test_only_logs_of_workers_are_read(tmp_path: Path) -> None:
    logs, log = _logs(tmp_path)
    secret = tmp_path / "id_rsa"
    secret.write_text("key")
    Path(log).with_name("link").symlink_to(secret)

    for other in (str(secret), f"{Path(log).parent}/../../id_rsa", str(Path(log).with_name("link"))):
        with pytest.raises(Forbidden):
            await logs.read(other, None, raw=True)
    with pytest.raises(NotFound):
        await logs.read(f"{log}.gone", None, raw=True)


async def test_a_real_program_is_read_by_its_own_driver(tmp_path: Path) -> None:
    _, log = _logs(tmp_path)
    said = {
        "type": "assistant",
        "message": {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "I begin."}]},
    }
    _append(log, json.dumps(said).encode() + b"\n")
    _begin(log, "claude")

    assert (await WorkerLogFiles(tmp_path / "workers").read(log, None, raw=False)).lines == ["~ hm", "I begin."]


@pytest.mark.parametrize("name", ["claude", "codex", "gemini"])
async def test_what_a_real_program_asked_and_how_it_ended_can_be_read(tmp_path: Path, name: str) -> None:
    logs, log = _logs(tmp_path)
    _append(log, (REPOSITORY / "tests/samples/streams" / f"{name}.jsonl").read_bytes())
    _begin(log, name)

    lines = (await logs.read(log, 0, raw=False)).lines
    assert [line.partition(":")[0] for line in lines if line.startswith(("asks", "-- done"))] == ["asks", "-- done"]
