"""The raw log of a worker is bounded, redacted, and never in the way."""

from pathlib import Path

import pytest

from wvo_mcp.execution.agents.rawlog import RawLog

pytestmark = pytest.mark.requirement("WORK-2")


HEAD = b'{"wvo": "log", "driver": "claude"}'


def written(path: Path, lines: list[bytes], limit: int = 1 << 20) -> list[bytes]:
    log = RawLog(path, "claude", limit)
    for line in lines:
        log.write(line)
    log.close()
    head, *kept = path.read_bytes().splitlines()
    assert head == HEAD
    return [line for line in kept if line != HEAD]


def test_lines_are_kept_in_order_without_secrets(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "w-1.log"
    secret = b"ghp_" + b"a1B2" * 9

    assert written(path, [b'{"n": 1}', b"token " + secret, b"\xff broken"]) == [
        b'{"n": 1}',
        b"token [redacted]",
        "\ufffd broken".encode(),
    ]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_log_goes_on_where_an_earlier_one_ended(tmp_path: Path) -> None:
    path = tmp_path / "w-1.log"
    written(path, [b"one"])

    assert written(path, [b"two"]) == [b"one", b"two"]


def test_the_middle_is_left_out_of_a_log_that_would_be_too_large(tmp_path: Path) -> None:
    path, limit = tmp_path / "w-1.log", 10_000

    lines: list[bytes] = []
    for number in range(100):  # the disk has taken each part before the next one comes
        lines = written(path, [b"%d-%d " % (number, part) + b"x" * 90 for part in range(20)], limit)

    assert path.stat().st_size <= limit
    assert lines[0].startswith(b"0-0 ")
    assert lines[-1].startswith(b"99-19 ")
    assert any(line.startswith(b'{"wvo":"left out"') for line in lines)
    assert all(line.endswith(b"x" * 90) for line in lines if not line.startswith(b"{"))


def test_what_comes_faster_than_the_disk_takes_it_is_left_out_and_counted(tmp_path: Path) -> None:
    [kept, said] = written(tmp_path / "w-1.log", [b"first", b"x" * 50_000], limit=10_000)

    assert kept == b"first"
    assert said == b'{"wvo":"left out","bytes":50000}'


def test_a_disk_that_refuses_the_log_does_not_stop_the_worker(tmp_path: Path) -> None:
    path = tmp_path / "w-1.log"
    path.mkdir()
    log = RawLog(path, "claude")

    log.write(b"lost")
    log.close()

    assert path.is_dir()
