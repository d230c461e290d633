"""Transcripts of Claude Code: what is read of them, and what hostile ones do."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from wvo_mcp.execution.providers import transcript
from wvo_mcp.execution.providers.transcript import files, read


def line(message_id: str, tokens_out: int, **more: Any) -> str:
    usage = {"input_tokens": 3, "cache_creation_input_tokens": 20, "output_tokens": tokens_out} | more
    return json.dumps({"type": "assistant", "message": {"id": message_id, "model": "claude-opus-5", "usage": usage}})


@pytest.mark.requirement("PROV-3")
def test_each_message_counts_once_with_what_it_came_to(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text("\n".join([line("m1", 1), '{"type": "user"}', line("m1", 40), line("m2", 5), line("m3", 9)[:50]]))

    part = read(path, 0)

    assert {one.id: (one.model, one.tokens_in, one.tokens_out) for one in part.messages.values()} == {
        "m1": ("claude-opus-5", 23, 40),
        "m2": ("claude-opus-5", 23, 5),
    }
    with path.open("a") as file:  # the line that was half written is whole now
        file.write(line("m3", 9)[50:] + "\n")
    assert [one.id for one in read(path, part.ends).messages.values()] == ["m3"]


def test_messages_are_ordered_by_their_ends_so_an_interrupted_count_misses_none(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text("".join(line(name, 1) + "\n" for name in ("m1", "m2", "m1", "m3")))

    ends = [one.ends for one in read(path, 0).messages.values()]

    assert ends == sorted(ends)


@pytest.mark.requirement("PROV-3")
@pytest.mark.parametrize(
    "content",
    [
        b"\xff\x00 no text\n",
        b'{"usage" "assistant"}\n',
        b'{"type": "assistant", "usage": ' + b"[" * 100_000 + b"\n",
        line("x" * 5_000, 1).encode() + b"\n",
        line("m", -5, input_tokens=-1, cache_creation_input_tokens=True).encode() + b"\n",
        line("m", 10**30, input_tokens=1.5, cache_creation_input_tokens="9").encode() + b"\n",
        json.dumps({"type": "assistant", "message": ["usage"]}).encode() + b"\n",
    ],
)
def test_what_is_not_understood_is_passed_over(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(content + line("good", 7).encode() + b"\n")

    assert [(one.id, one.tokens_out) for one in read(path, 0).messages.values()] == [("good", 7)]


def test_a_line_without_an_end_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcript, "_LINE", 1_000)
    path = tmp_path / "s.jsonl"
    path.write_text(line("m1", 1) + "\n" + line("m2", 1) + " " * 5_000 + "\n" + line("m3", 1) + "\n")

    part = read(path, 0)

    assert list(part.messages) == ["m1", "m3"]
    assert part.ends == path.stat().st_size


def test_what_is_no_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert read(tmp_path / "pipe", 0).messages == {}
    assert read(Path("/dev/zero"), 0).messages == {}


def test_a_file_that_was_begun_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(line("m1", 1) + "\n")

    assert list(read(path, 10_000).messages) == ["m1"]


def test_subagents_have_transcripts_of_their_own(tmp_path: Path) -> None:
    beside = tmp_path / "s" / "subagents"
    beside.mkdir(parents=True)
    (beside / "agent-1.jsonl").write_text(line("m1", 1) + "\n")

    assert files(tmp_path / "s.jsonl") == [tmp_path / "s.jsonl", beside / "agent-1.jsonl"]
