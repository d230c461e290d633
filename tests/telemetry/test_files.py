"""Lines are whole, whoever writes, however it ends."""

import fcntl
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.workspace import REPOSITORY
from wvo_mcp.telemetry.files import LineFile

pytestmark = pytest.mark.requirement("OBS-1")


def append(file: LineFile, *lines: str) -> None:
    file.writelines(f"{line}\n" for line in lines)
    file.flush()


WRITER = """
import json, sys
from pathlib import Path
from wvo_mcp.telemetry.files import LineFile
file = LineFile(Path(sys.argv[1]), "x.jsonl", max_bytes=int(sys.argv[3]), kept=1000, lock_seconds=100)
sys.stdin.readline()
for number in range(150):
    for k in range(5):
        file.write(json.dumps({"by": sys.argv[2], "n": number, "k": k, "fill": "x" * 200}) + "\\n")
    file.flush()
"""


def test_several_processes_write_and_turn_over_without_losing_or_tearing_a_line(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), name, "20000"], env=environ, stdin=subprocess.PIPE
        )
        for name in "abc"
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.close()
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    files = list(tmp_path.glob("x.jsonl*"))
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert {(line["by"], line["n"], line["k"]) for line in lines} == {
        (name, number, k) for name in "abc" for number in range(150) for k in range(5)
    }
    assert len(lines) == 3 * 150 * 5
    assert len(files) > 10 and all(file.stat().st_size <= 20_000 for file in files)


def test_a_writer_that_is_stopped_keeps_the_others_only_for_a_while(tmp_path: Path) -> None:
    file = LineFile(tmp_path, "x.jsonl", lock_seconds=0.05)
    with (tmp_path / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match="another process keeps the lock"):
            append(file, '{"n":1}')
    append(file, '{"n":2}')
    assert (tmp_path / "x.jsonl").read_bytes() == b'{"n":2}\n'


def test_old_files_go(tmp_path: Path) -> None:
    file = LineFile(tmp_path, "x.jsonl", max_bytes=100, kept=3)
    for number in range(10):
        append(file, json.dumps({"n": number, "fill": "x" * 60}))
    names = {path.name: json.loads(path.read_text())["n"] for path in tmp_path.glob("x.jsonl*")}
    assert names == {"x.jsonl": 9, "x.jsonl.1": 8, "x.jsonl.2": 7}


@pytest.mark.parametrize("left", [b'{"n":1', b'{"n":0}\n{"n":1', b'{"n":0}\n'])
def test_what_a_killed_writer_left_of_a_line_is_cut_away(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "x.jsonl").write_bytes(left)
    append(LineFile(tmp_path, "x.jsonl"), '{"n":2}')
    whole = [json.loads(line)["n"] for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert whole == ([0, 2] if left.startswith(b'{"n":0}') else [2])


@pytest.mark.parametrize("lines", [1, 12], ids=["one long line", "many lines"])
def test_a_full_disk_leaves_whole_lines(tmp_path: Path, lines: int) -> None:
    file = LineFile(tmp_path, "x.jsonl")
    append(file, '{"n":0}')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            append(file, '{"n":1}', *[json.dumps({"fill": "x" * (240 // lines)})] * lines)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    append(file, '{"n":2}')
    assert (tmp_path / "x.jsonl").read_text() == '{"n":0}\n{"n":2}\n'
