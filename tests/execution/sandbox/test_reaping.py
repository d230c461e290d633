"""What a process that is gone has left is removed by the next one; what lives is let alone."""

import os
import time
from pathlib import Path

import pytest

from tests.support.sandboxes import Sandboxed, docker, outside
from wvo_mcp.domain.sandbox import IMAGE
from wvo_mcp.execution.sandbox.reaping import HOST, PID, RUN, STORE, UNTIL, Note, born

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SBX-1")]


def gone() -> str:
    """A process that has ended, as a file of the journal names it."""
    with outside("sleep", "300") as child:
        mark = f"{child.pid}.{born(child.pid)}"
        child.kill()
    return mark


def left(box: Sandboxed, owner: str, until: float, host: str | None = None) -> str:
    """A container of that process, and the file for it."""
    with box.journal.noted(1.0) as note:
        labels = {**note.labels, PID: owner, UNTIL: str(int(until)), **({HOST: host} if host else {})}
    (box.state / "sandbox" / f"{labels[RUN]}.{owner}").touch()
    options = [word for name, value in labels.items() for word in ("--label", f"{name}={value}")]
    return docker("create", "--network", "none", *options, IMAGE, "sleep", "300")


async def test_a_container_of_a_process_that_is_gone_is_removed(box: Sandboxed) -> None:
    made = left(box, gone(), time.time() + 3_600)
    docker("start", made)
    assert await box.sandbox.reap() == 1 and box.containers() == []


async def test_what_lives_and_what_another_machine_began_is_let_alone_until_its_time(box: Sandboxed) -> None:
    ours = f"{os.getpid()}.{born(os.getpid())}"
    living = left(box, ours, time.time() + 3_600)
    foreign = left(box, gone(), time.time() + 3_600, host="elsewhere/boot/pid")
    over = left(box, gone(), time.time() - 1, host="elsewhere/boot/pid")
    assert await box.sandbox.reap() == 1
    there = {one[:12] for one in (living, foreign)}
    assert {one[:12] for one in box.containers()} == there and over[:12] not in there
    box.close()


async def test_a_run_removes_what_was_left_before_it_begins(box: Sandboxed) -> None:
    """Where commands of the shell are all that ever runs."""
    left(box, gone(), time.time() + 3_600)
    assert (await box.run("true")).exit_code == 0 and box.containers() == []


async def test_the_engine_is_not_asked_where_nothing_was_left(tmp_path: Path) -> None:
    nowhere = Sandboxed(tmp_path, {"DOCKER_HOST": "tcp://127.0.0.1:1"})
    assert await nowhere.sandbox.reap() == 0


async def test_a_container_that_could_not_be_removed_keeps_its_file(box: Sandboxed) -> None:
    with box.journal.noted(1.0) as note:
        note.removed = False
    assert len(list((box.state / "sandbox").iterdir())) == 1
    with box.journal.noted(1.0) as note:
        assert isinstance(note, Note) and note.labels[STORE] == str(box.state)
    assert len(list((box.state / "sandbox").iterdir())) == 1


def test_a_number_that_another_process_got_is_another_process() -> None:
    ours = born(os.getpid())
    assert ours is not None and ours == born(os.getpid())
    with outside("sleep", "300") as child:
        assert born(child.pid) not in (None, ours)
        child.kill()
    assert born(child.pid) is None
