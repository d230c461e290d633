"""Programs that behave and programs that do not, as real processes."""

import itertools
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from wvo_mcp.execution import identity
from wvo_mcp.processes import Child, Ended, Limit, Line, NotStarted, Program, run, run_blocking, started

pytestmark = pytest.mark.anyio

FOREVER = 900.0
"""A deadline that no test reaches."""


def shell(script: str, *words: str, deadline: float = FOREVER) -> Program:
    return Program(argv=("sh", "-c", script, "sh", *words), env=os.environ, deadline=deadline)


def python(code: str) -> Program:
    return Program(argv=(sys.executable, "-c", code), env=os.environ, deadline=FOREVER)


def alive(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text() if Path("/proc").exists() else os.kill(pid, 0) is None
    except (ProcessLookupError, FileNotFoundError):
        return False


async def all_end(*pids: int) -> None:
    """Killed processes are gone once whoever adopted them has noticed."""
    while any(alive(pid) for pid in pids):
        await anyio.lowlevel.checkpoint()


async def test_it_gets_input_environment_and_folder_and_its_end_is_reported(tmp_path: Path) -> None:
    program = shell('cat /dev/stdin; echo "$WORD $(pwd)"; echo oh >&2; exit 7')

    ended = await run(replace(program, stdin=b"hello\n", env={**os.environ, "WORD": "w"}, cwd=tmp_path))

    assert ended == Ended(7, None, b"oh\n", f"hello\nw {tmp_path}\n".encode())


async def test_without_input_it_reads_an_empty_one() -> None:
    assert (await run(shell("wc -c"))).stdout.strip() == b"0"


async def test_a_program_that_ends_by_a_signal_has_its_number() -> None:
    assert (await run(shell("kill -KILL $$"))).code == -9


@pytest.mark.parametrize("program", [["no-such-program"], ["/dev/null"], ["sh\0"]], ids=["none", "not one", "NUL"])
async def test_what_cannot_be_started_says_why(program: list[str]) -> None:
    with pytest.raises(NotStarted) as raised:
        await run(Program(argv=program, env=os.environ, deadline=FOREVER))

    assert str(raised.value)
    assert raised.value.missing is (program == ["no-such-program"])


async def test_a_flood_is_read_to_its_end_and_its_edges_are_kept() -> None:
    code = "import sys; sys.stdout.write('a' * 50_000_000); sys.stderr.write('b' * 50_000_000 + 'end')"

    ended = await run(python(code), keep=10)

    assert (ended.code, ended.limit, ended.stdout, ended.cut) == (0, None, b"a" * 10, True)
    assert len(ended.stderr) == 1 << 16
    assert ended.stderr.endswith(b"bend")


@pytest.mark.parametrize("redirect", ["", ">&2"])
async def test_more_output_than_allowed_ends_it(redirect: str) -> None:
    ended = await run(replace(shell(f"exec yes {redirect}"), output=100_000))

    assert ended.limit is Limit.OUTPUT
    assert ended.code == -15


async def test_input_that_is_not_read_holds_nothing_up() -> None:
    assert (await run(replace(shell("exit 3"), stdin=b"x" * 5_000_000))).code == 3


async def test_a_program_that_talks_before_it_reads_gets_all_that_it_was_given() -> None:
    talks = "import sys; sys.stdout.buffer.write(bytes(4_000_000)); sys.exit(len(sys.stdin.buffer.read(1 << 20)) != 1 << 20)"
    argv = (sys.executable, "-c", talks)
    async with started(Program(argv=argv, env=os.environ, deadline=60, interactive=True)) as child:
        with anyio.fail_after(30):
            child.write(bytes(1 << 20))
            while await child.read():
                pass
            assert (await child.ended()).code == 0


async def test_input_that_is_left_in_the_pipe_of_a_daemon_holds_nothing_up() -> None:
    daemon = "import subprocess; subprocess.Popen(['sleep', '20'], start_new_session=True, stdout=-3, stderr=-3)"
    argv = (sys.executable, "-c", daemon)
    with anyio.fail_after(10):
        async with started(Program(argv=argv, env=os.environ, deadline=60, interactive=True)) as child:
            child.write(bytes(1 << 20))
            await child.ended()


async def test_silence_on_closed_streams_is_not_its_end() -> None:
    ended = await run(shell("exec >&- 2>&-; exec sleep 900", deadline=0.2))

    assert ended.limit is Limit.DEADLINE


async def test_a_silent_program_is_ended() -> None:
    assert (await run(replace(shell("exec sleep 900"), idle=0.1))).limit is Limit.IDLE


async def test_a_program_that_ignores_sigterm_is_killed_with_its_children() -> None:
    script = "trap '' TERM; sleep 900 & echo $! $$; while :; do wait; done"
    async with started(replace(shell(script), grace=0.05)) as child:
        pids = [int(word) for word in (await anext(child.lines())).text.split()]

    assert (await child.ended()).code == -9
    await all_end(*pids)


async def test_a_child_left_in_its_group_is_killed_when_it_ends_and_is_not_waited_for() -> None:
    ended = await run(shell("sleep 900 & echo $!; exit 4"))

    assert ended.code == 4
    await all_end(int(ended.stdout))


async def test_children_that_may_stay_hold_nothing_up_with_their_open_streams() -> None:
    ended = await run(replace(shell("sleep 900 & echo $!; echo last >&2"), leaves_children=True))

    assert (ended.code, ended.stderr) == (0, b"last\n")
    os.kill(int(ended.stdout), 9)


async def test_a_daemon_of_another_session_holds_nothing_up() -> None:
    code = (
        "import os, sys, time\n"
        "if (child := os.fork()) == 0:\n    os.setsid(); time.sleep(900)\n"
        "print(child, flush=True); os._exit(5)"
    )

    ended = await run(python(code))

    assert ended.code == 5
    os.kill(int(ended.stdout), 9)


async def test_lines_come_one_by_one_and_huge_ones_are_cut() -> None:
    async with started(shell(r"printf 'a\n\n'; head -c 300000 /dev/zero; printf '\nz'; exit 2")) as child:
        seen = [line async for line in child.lines(longest=5)]

        assert (await child.ended()).code == 2
    assert seen == [Line(b"a", False), Line(b"", False), Line(b"\0" * 5, True), Line(b"z", False)]


async def test_a_line_arrives_while_the_program_lives_on() -> None:
    async with started(shell("echo ready; exec sleep 900")) as child:
        assert await anext(child.lines()) == Line(b"ready", False)

    assert (await child.ended()).limit is Limit.STOPPED


async def held_up(child: Child) -> None:
    """Reads nothing until the program has to wait."""
    while not child._paused:
        await anyio.lowlevel.checkpoint()


async def test_a_reader_that_lags_behind_misses_no_line() -> None:
    async with started(shell("seq 1 200000 | sed s/$/,0123456789/")) as child:
        await held_up(child)
        numbers = [int(line.text.partition(b",")[0]) async for line in child.lines()]

    assert numbers == list(range(1, 200_001))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
async def test_a_program_that_ends_with_us_runs_as_any_other() -> None:
    assert (await run(replace(shell("echo here"), ends_with_us=True))).stdout == b"here\n"


async def test_a_program_that_waits_for_its_reader_is_not_idle() -> None:
    async with started(shell(f"exec yes {'y' * 1_000}")) as child:
        await held_up(child)
        child._heard -= 1_000
        child._deadline = child._loop.time() + 0.3
        child._program = replace(child._program, idle=0.05)
        child._check()

        assert (await child.ended()).limit is Limit.DEADLINE


async def test_a_reader_gets_what_was_written_before_a_limit() -> None:
    async with started(replace(shell("echo one; exec yes two"), output=500_000)) as child:
        seen = [line.text async for line in child.lines()]

    assert seen[0] == b"one"
    assert len(seen) > 100_000
    assert (await child.ended()).limit is Limit.OUTPUT


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the program in /proc")
async def test_cancelled_at_any_moment_nothing_of_it_is_left(tmp_path: Path) -> None:
    mark = f"mark-of-{tmp_path}"
    for moment in (*range(25), 50, 100, 200, 400):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, shell("sleep 900; :", mark))
            for _ in range(moment):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()

        assert list(running(mark)) == []


def running(mark: str) -> "itertools.chain[str]":
    def named(process: Path) -> list[str]:
        try:
            return [process.name] if mark.encode() in (process / "cmdline").read_bytes() else []
        except OSError:
            return []

    return itertools.chain.from_iterable(map(named, Path("/proc").glob("[0-9]*")))


async def test_a_thread_runs_it_without_an_event_loop_and_stops_it() -> None:
    stop = threading.Event()
    stop.set()

    stopped = await anyio.to_thread.run_sync(run_blocking, replace(shell("exec sleep 900"), stop=stop))
    ended = await anyio.to_thread.run_sync(run_blocking, shell("echo done"))

    assert stopped.limit is Limit.STOPPED
    assert (ended.code, ended.stdout) == (0, b"done\n")


async def test_without_proc_the_start_of_the_parent_is_what_ps_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(pid: int) -> tuple[int, str]:
        raise FileNotFoundError(pid)

    known = identity.parent_started_at()
    monkeypatch.setattr(identity, "_stat", absent)
    by_ps = identity.parent_started_at()
    monkeypatch.setenv("PATH", "/nowhere")

    assert by_ps != known
    assert by_ps.isalnum()
    assert identity.parent_started_at() == "0"
