"""What ends a run, whatever it does, and that less of it does not."""

import time

import anyio
import pytest

from tests.support.sandboxes import Sandboxed, outside
from tests.support.scale import sized
from wvo_mcp.domain.sandbox import Grant, How
from wvo_mcp.ports.sandbox import Mount, Ran

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SBX-1")]

_STUBBORN = """
import signal, time
for one in {*range(1, 32)} - {9, 19}:
    signal.signal(one, signal.SIG_IGN)
print('begun', flush=True)
time.sleep(300)
"""


async def test_one_that_ignores_every_signal_is_ended_at_its_time(box: Sandboxed) -> None:
    ran = await box.run("python3", "-c", _STUBBORN, seconds=3.0)
    assert (ran.how, ran.exit_code, ran.stdout) == (How.TIME, None, b"begun\n")
    assert 3.0 <= ran.seconds < 30.0
    with outside("python3", "-c", _STUBBORN) as here:
        assert here.stdout is not None and here.stdout.readline() == b"begun\n"
        here.terminate()
        assert here.poll() is None
        here.kill()


async def test_one_that_closes_its_output_is_ended_at_its_time(box: Sandboxed) -> None:
    ran = await box.run("exec >&- 2>&-; sleep 300", seconds=2.0)
    assert ran.how is How.TIME and ran.seconds < 30.0
    assert (await box.run("exec >&- 2>&-; exit 3")).exit_code == 3


async def test_memory_is_bounded(box: Sandboxed) -> None:
    code = "held = bytearray(b'x' * ({} << 20)); print('had it')"
    ran = await box.run("python3", "-c", code.format(200), memory_mb=128)
    assert ran.how is How.MEMORY and b"had it" not in ran.stdout
    assert (await box.run("python3", "-c", code.format(200), memory_mb=512)).stdout == b"had it\n"


@pytest.mark.full
async def test_files_in_work_count_as_memory(box: Sandboxed) -> None:
    fill = "dd if=/dev/zero of=full bs=1M count=200 2>/dev/null && echo had it"
    ran = await box.run(fill, memory_mb=100, work_mb=300)
    assert b"had it" not in ran.stdout
    assert (await box.run(fill, memory_mb=400, work_mb=300)).stdout == b"had it\n"


async def test_ten_gigabytes_of_output_end_the_run_and_stay_nowhere(box: Sandboxed) -> None:
    ran = await box.run("head -c 10000000000 /dev/zero", output_bytes=100_000)
    assert ran.how is How.OUTPUT and len(ran.stdout) == 100_000 and ran.seconds < 30.0
    less = await box.run("head -c 99000 /dev/zero; head -c 1000 /dev/zero >&2", output_bytes=100_000)
    assert (less.how, less.exit_code, len(less.stdout), len(less.stderr)) == (How.EXIT, 0, 99_000, 1_000)


async def test_what_is_written_to_a_mount_is_bounded(box: Sandboxed) -> None:
    out = box.root / "out"
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    box.grant = Grant(write=("out",))
    mounts = (Mount(path="out", write=True),)
    fill = "for n in $(seq {}); do dd if=/dev/zero of=/project/out/$n bs=1M count=4 2>/dev/null || exit 1; done; {}"
    assert (await box.run(fill.format(2, "echo fine"), mounts=mounts, work_mb=20)).stdout == b"fine\n"
    ran = await box.run(fill.format(10, "sleep 300"), mounts=mounts, work_mb=20)
    assert ran.how is How.DISK
    empty = "mkdir /project/out/d; cd /project/out/d; seq 6000 | xargs touch; sleep 300"
    assert (await box.run(empty, mounts=mounts, work_mb=20)).how is How.DISK
    one = await box.run("dd if=/dev/zero of=/project/out/large bs=1M count=100", mounts=mounts, work_mb=20)
    assert one.exit_code != 0 and (out / "large").stat().st_size <= 20 << 20


async def test_more_processors_than_there_are_may_be_allowed(box: Sandboxed) -> None:
    assert (await box.run("true", cpus=4.0)).exit_code == 0


async def test_a_run_that_is_called_off_ends_and_leaves_nothing(box: Sandboxed) -> None:
    began = time.monotonic()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(box.run, "sleep 300")
        while not box.containers():
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert box.containers() == [] and time.monotonic() - began < 60
    assert list((box.state / "sandbox").iterdir()) == []


async def test_many_at_once_are_apart_and_leave_nothing(box: Sandboxed) -> None:
    found: dict[int, Ran] = {}

    async def one(number: int) -> None:
        found[number] = await box.run(f"echo {number} > mine; cat mine; ls | wc -l", memory_mb=64)

    many = sized(20, 6)
    async with anyio.create_task_group() as tasks:
        for number in range(many):
            tasks.start_soon(one, number)
    assert {number: ran.stdout.split() for number, ran in found.items()} == {
        number: [str(number).encode(), b"1"] for number in range(many)
    }
    assert box.containers() == []
