"""What runs in the sandbox does not get out. Each probe prints ESCAPED where it could; and it can where the guard is off."""

import socket
import sys
from pathlib import Path

import pytest

from tests.support.sandboxes import Sandboxed, docker, outside, without_guards
from wvo_mcp.domain.sandbox import IMAGE, Grant, How
from wvo_mcp.errors import Forbidden, InvalidInput
from wvo_mcp.ports.sandbox import Mount

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SBX-1")]

_FORK = "i=0; while [ $i -lt 200 ]; do sleep 60 & i=$((i + 1)); done; echo ESCAPED; kill -9 -1"
_FILL = "dd if=/dev/zero of=full bs=1M count=100 2>&1 && echo ESCAPED"

_UNCONFINED = ("--user", "0", "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined")
PROBES = {
    "the root can be written": ("echo x > /etc/probe && echo ESCAPED", ["--user", "0"]),
    "it is root": ("test $(id -u) = 0 && echo ESCAPED", ["--user", "0"]),
    "a file system can be mounted": ("mount -t tmpfs none /mnt && echo ESCAPED", _UNCONFINED),
    "a raw socket can be opened": (
        "python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); print(\"ESCAPED\")'",
        ["--user", "0"],
    ),
    "packets can be read": (
        "python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3); print(\"ESCAPED\")'",
        ["--user", "0"],
    ),
    "the kernel can be told": (
        "echo probe > /proc/sys/kernel/hostname && echo ESCAPED",
        (*_UNCONFINED, "--security-opt", "systempaths=unconfined"),
    ),
    "control groups can be made": (
        "d=$(ls -d /sys/fs/cgroup/pids 2>/dev/null || echo /sys/fs/cgroup); mkdir $d/probe && rmdir $d/probe && echo ESCAPED",
        ["--user", "0", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw"],
    ),
    "it has capabilities": ("grep -q 'CapBnd:.*[1-9a-f]' /proc/self/status && echo ESCAPED", []),
    "no filter of system calls": ("grep -q 'Seccomp:.*0' /proc/self/status && echo ESCAPED", _UNCONFINED),
    "privileges can be gained": ("grep -q 'NoNewPrivs:.*0' /proc/self/status && echo ESCAPED", []),
    "a namespace can be made": ("unshare --user --map-root-user echo ESCAPED", _UNCONFINED),
    "a device can be made": ("mknod probe b 8 0 && echo ESCAPED", ["--user", "0"]),
    "/work is as large as the disk": (_FILL, ["--tmpfs", "/work:size=200m", "--workdir", "/work"]),
    "any number of processes": (_FORK, ["--init"]),
}


DAILY = (
    "the root can be written",
    "a file system can be mounted",
    "a raw socket can be opened",
    "the kernel can be told",
)


@pytest.mark.parametrize(
    "probe",
    [pytest.param(one, marks=[] if one in (*DAILY, *list(PROBES)[-2:]) else [pytest.mark.full]) for one in PROBES],
)
async def test_a_probe_fails_that_succeeds_without_the_guard(box: Sandboxed, probe: str) -> None:
    script, options = PROBES[probe]
    ran = await box.run(script)
    assert ran.how is How.EXIT and b"ESCAPED" not in ran.stdout, ran
    assert "ESCAPED" in without_guards(script, *options)


async def test_what_it_may_is_little_and_could_be_more(box: Sandboxed) -> None:
    """What the kernel says of all that the other probes try one by one."""

    def status(text: str) -> dict[str, str]:
        return dict(line.split(":", 1) for line in text.replace("\t", "").splitlines())

    wanted = "grep -E '^(Uid|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status"
    found = status((await box.run(wanted)).stdout.decode())
    assert {found.pop(name) for name in list(found) if name.startswith("Cap")} == {"0" * 16}
    assert found == {"Uid": "65532" * 4, "NoNewPrivs": "1", "Seccomp": "2"}
    lax = status(without_guards(wanted, *_UNCONFINED))
    assert int(lax["CapEff"], 16) and (lax["Uid"], lax["NoNewPrivs"], lax["Seccomp"]) == ("0000", "0", "0")


async def test_processes_of_the_machine_are_neither_seen_nor_traced(box: Sandboxed) -> None:
    attach = (
        "import ctypes, os; libc = ctypes.CDLL(None); pid = {pid}; "
        "print('ESCAPED' if os.path.exists(f'/proc/{{pid}}/exe') or libc.ptrace(16, pid, 0, 0) == 0 else 'no')"
    )
    with outside("sleep", "300") as victim:
        try:
            code = attach.format(pid=victim.pid)
            ran = await box.run("python3", "-c", code)
            assert ran.stdout == b"no\n", ran
            seen = without_guards(f'python3 -c "{code}"', "--pid", "host", "--user", "0", "--cap-add", "SYS_PTRACE")
            assert seen == "ESCAPED"
        finally:
            victim.kill()


async def test_nothing_listens_for_it_not_even_on_this_machine(box: Sandboxed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5); print('ESCAPED')"
        ran = await box.run(f'python3 -c "{code}"; ls /sys/class/net')
        assert b"ESCAPED" not in ran.stdout and ran.stdout.split() == [b"lo"]
        with outside(sys.executable, "-c", code) as here:
            assert here.communicate(timeout=60)[0] == b"ESCAPED\n"


async def test_the_socket_of_docker_is_never_mounted(box: Sandboxed) -> None:
    """Whatever the policy says, and by whatever name."""
    box.grant = Grant(read=("/**", "**"), write=("/**", "**"))
    (box.root / "innocent").symlink_to(box.engine.socket)
    (box.root / "folder").symlink_to(Path(box.engine.socket).parent)
    for path in (
        box.engine.socket,
        "innocent",
        "folder",
        "/",
        "/proc",
        "/sys",
        "/dev",
        "/proc/1/root",
        "/run",
        "/var/run",
    ):
        for write in (False, True):
            with pytest.raises((Forbidden, InvalidInput)):
                await box.run("true", mounts=(Mount(path=path, at="/mnt/x", write=write),))
    ran = await box.run("find / -xdev -name '*.sock' 2>/dev/null; test -e /var/run/docker.sock && echo ESCAPED")
    assert ran.stdout == b""


async def test_links_in_a_mount_lead_nowhere_outside(box: Sandboxed, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("ESCAPED")
    inside = box.root / "src"
    inside.mkdir()
    (inside / "link").symlink_to(secret)
    (inside / "up").symlink_to("../../secret")
    assert (inside / "link").read_text() == (inside / "up").read_text() == "ESCAPED"
    box.grant = Grant(read=("src",))
    ran = await box.run("cat /project/src/link /project/src/up", mounts=(Mount(path="src"),))
    assert b"ESCAPED" not in ran.stdout and ran.exit_code != 0


async def test_nothing_of_our_environment_and_of_dockers_configuration_is_there(
    box: Sandboxed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.mkdir()
    (config / "config.json").write_text('{"proxies": {"default": {"httpProxy": "http://ESCAPED:1"}}}')
    monkeypatch.setenv("DOCKER_CONFIG", str(config))
    monkeypatch.setenv("WVO_SECRET_OF_OURS", "ESCAPED")
    ran = await box.run("env", env={"GIVEN": "yes"})
    assert b"ESCAPED" not in ran.stdout
    names = {line.partition("=")[0] for line in ran.stdout.decode().splitlines()}
    assert names <= {"HOME", "HOSTNAME", "PATH", "PWD", "LANG", "GIVEN"} and "GIVEN" in names
    assert "ESCAPED" in without_guards("env", "-e", "WVO_SECRET_OF_OURS")


@pytest.mark.full
async def test_an_image_with_volumes_gets_no_room_on_the_disk(box: Sandboxed) -> None:
    image, fill = "wvo-mcp-test-volume:1", "dd if=/dev/zero of=/data/full bs=1M count=100 2>/dev/null && echo ESCAPED"
    made = docker("create", IMAGE, "true")
    try:
        docker("commit", "--change", "VOLUME /data", made, image)
        ran = await box.run(f"{fill}; df /data | grep -c tmpfs", image=image)
        assert ran.stdout == b"1\n"
        assert docker("run", "--rm", "--network", "none", image, "sh", "-c", fill) == "ESCAPED"
    finally:
        docker("rm", "-f", made)
        docker("rmi", "-f", image)
