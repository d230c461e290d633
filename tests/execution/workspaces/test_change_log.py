"""The log of changes is bounded, and safe to show whatever files are called (WS-10)."""

import json
import os
from pathlib import Path

import pytest

from wvo_mcp.domain.changes import ChangeKind, FileChange
from wvo_mcp.domain.known_secrets import forget_secret, register_secret
from wvo_mcp.execution.workspaces.change_log import ChangeLog, sweep

pytestmark = pytest.mark.requirement("WS-10")


def changes(*names: str) -> list[FileChange]:
    return [FileChange(ChangeKind.ADDED, name) for name in names]


def read(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def test_each_change_is_a_line_and_the_oldest_go_first(tmp_path: Path) -> None:
    log = ChangeLog(tmp_path / "changes", "ws-1", most=10_000)
    path = tmp_path / "changes" / "ws-1.jsonl"
    for number in range(500):
        log.add(changes(f"f{number}.py"))
        assert path.stat().st_size <= 10_000
    lines = read(path)
    assert set(lines[-1]) == {"at", "kind", "path"}
    numbers = [int(line["path"][1:-3]) for line in lines]
    assert numbers == list(range(numbers[0], 500))
    assert len(numbers) > 50


def test_more_at_once_than_it_may_hold_keeps_the_newest(tmp_path: Path) -> None:
    log = ChangeLog(tmp_path, "ws-1", most=10_000)
    log.add(changes(*(f"f{number}.py" for number in range(1_000))))
    lines = read(tmp_path / "ws-1.jsonl")
    assert lines[-1]["path"] == "f999.py"
    assert (tmp_path / "ws-1.jsonl").stat().st_size <= 10_000


def test_names_with_secrets_and_control_characters_harm_nobody(tmp_path: Path) -> None:
    secret = "opensesame-" + "k" * 30
    register_secret(secret)
    try:
        log = ChangeLog(tmp_path, "ws-1")
        log.add(changes(f"{secret}.txt", "a\nb\x1b[31m\u202e.py", os.fsdecode(b"odd\xff"), "x" * 5_000))
    finally:
        forget_secret(secret)
    text = (tmp_path / "ws-1.jsonl").read_text("ascii")
    assert secret not in text
    assert "\x1b" not in text
    lines = read(tmp_path / "ws-1.jsonl")
    assert lines[1]["path"] == "a\nb\x1b[31m\u202e.py"
    assert len(lines[3]["path"]) == 1_000
    assert (tmp_path / "ws-1.jsonl").stat().st_mode & 0o077 == 0


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("keep\n")
    (tmp_path / "ws-1.jsonl").symlink_to(target)
    with pytest.raises(OSError):
        ChangeLog(tmp_path, "ws-1").add(changes("f.py"))
    assert target.read_text() == "keep\n"


def test_the_log_goes_with_its_workspace(tmp_path: Path) -> None:
    for name in ("ws-1", "ws-2"):
        ChangeLog(tmp_path, name).end("over")
    sweep(tmp_path, {"ws-2"})
    assert [path.name for path in tmp_path.iterdir()] == ["ws-2.jsonl"]
    sweep(tmp_path / "none", set())
