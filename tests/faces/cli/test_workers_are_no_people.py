"""A worker that tries to be a person, at each door of the command line and of the server: however it detaches itself, what
it starts stays below its warden."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from tests.faces.cli.shell import Ran, Shell
from tests.faces.cli.test_agent_shells import in_shell
from tests.support.sessions import Servers, an_agent
from tests.support.stdio_client import Refused, StdioClient
from wvo_mcp.execution import identity
from wvo_mcp.execution.agents import warden
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.store.sqlite.store import SqliteStore

pytestmark = pytest.mark.requirement("SAFE-4", "WORK-8")

KEY = "a1" * 32
WARDEN = shlex.join([sys.executable, "-I", "-S", warden.__file__])
TASK = json.dumps([{"id": "T1", "title": "Deploy", "requires_approval": True}, {"id": "T2", "title": "Build"}])


def below_a_warden(shell: Shell, line: str, **environ: str) -> Ran:
    """The line is run by a worker's shell."""
    return in_shell(shell, f'exec 9<>"$LIFE"; {WARDEN} 9 /bin/sh -c {shlex.quote(line)}', LIFE=_life(shell), **environ)


def _life(shell: Shell) -> str:
    """A pipe that stays open."""
    life = shell.home / "life"
    if not life.exists():
        os.mkfifo(life)
    return str(life)


def refused(ran: Ran) -> bool:
    return ran.error["code"] == "forbidden" and "worker" in ran.error["message"]


WAYS = {
    "as it is": "$WVO approve T1",
    "with an empty environment": 'env -i HOME="$HOME" PYTHONPATH="$PYTHONPATH" $WVO approve T1',
    "in a session of its own": "setsid --wait $WVO approve T1",
    "forked twice, without its parents": 'mkfifo d; (setsid sh -c \'env -i HOME="$HOME" PYTHONPATH="$PYTHONPATH"'
    " nohup $WVO approve T1 >o 2>e; echo $? >d' &) ; read code <d; cat o; cat e >&2; exit $code",
}


LAST = "forked twice, without its parents"


@pytest.mark.parametrize("way", [LAST, *(pytest.param(way, marks=pytest.mark.full) for way in WAYS if way != LAST)])
def test_no_way_of_starting_it_makes_a_worker_a_person(shell: Shell, way: str) -> None:
    shell("create-tasks", "--tasks", TASK)
    assert refused(below_a_warden(shell, WAYS[way]))
    assert shell("approvals", "--state", "open").json["open"] == 1


def test_what_the_autopilot_runs_to_prepare_a_worktree_is_no_person(shell: Shell) -> None:
    """A setup command installs packages, and runs what agents wrote into them."""
    shell("create-tasks", "--tasks", TASK)
    autopilot = shell.home / "wvo-mcp"
    autopilot.write_text("import subprocess, sys\nsys.exit(subprocess.run(['sh', '-c', sys.argv[2]]).returncode)\n")
    setup = 'env -i HOME="$HOME" PYTHONPATH="$PYTHONPATH" $WVO approve T1'

    assert refused(in_shell(shell, f"{sys.executable} {autopilot} autopilot {shlex.quote(setup)}"))


def _yes(words: list[str]) -> bool:
    return True


@contextmanager
def as_a_worker(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """What is above this process is a warden."""
    with monkeypatch.context() as inside:
        inside.setattr(identity, "_runs_agents_work", _yes)
        yield


DOORS = [
    "approve A-1",
    "deny A-1 no",
    "pause",
    "resume",
    "stop",
    "unblock T1",
    "retry T1",
    "cancel T2",
    "add Something",
    "update-task T2 --acceptance nothing",
    "claim-task T2",
    "create-tasks --tasks " + shlex.quote(json.dumps([{"title": "x"}])),
    "alert-resolve 1",
    "alert-ack 1",
    "budget raise agent ann --hourly 5",
    "token create me --role admin",
    "token list",
    "token revoke 0123456789ab",
    "login-link",
    "merge park m-1",
    "merge retry m-1",
    "merge revert m-1",
    "backup restore --latest",
    "worker stop w-1",
    "roadmap-sync",
    "trust --yes",
    "init --yes",
    "autopilot",
    "orchestrate goal --yes",
    "orchestrate --resume",
    "plan-accept O-1",
    "plan-edit O-1 --plan {}",
    "plan-check O-1",
    "serve --http --port 0",
    "doctor --repair",
    "store copy state/state.db other.db",
]


def test_every_door_is_shut_to_a_worker_and_reading_is_open(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell("create-tasks", "--tasks", TASK)
    before = [shell("get-task", task_id).json for task_id in ("T1", "T2")]
    files = {path: path.stat().st_mtime_ns for path in shell.root.rglob("*.yaml")}

    with as_a_worker(monkeypatch):
        for command in DOORS:
            answer = shell(*shlex.split(command))
            assert answer.code == 1, (command, answer)
            assert "forbidden" in answer.out + answer.err, (command, answer)
        assert shell("get-task", "T2").code == 0

    assert [shell("get-task", task_id).json for task_id in ("T1", "T2")] == before
    assert {path: path.stat().st_mtime_ns for path in shell.root.rglob("*.yaml")} == files


def launch(root: Path) -> None:
    """What the pool does: it claims, and writes the row of the worker with its key."""

    async def work() -> None:
        pool = an_agent("auto-host", "cli:auto-host", durable=True)
        store = SqliteStore(root / "state" / "state.db", SystemClock(), Servers())
        await store.open()
        row = {"task_id": "T2", "lease_token": 1, "agent_id": "auto-host.1", "run_id": "r", "provider": "claude"}
        await store.write(pool, lambda tx: tx.workers.add({**row, "tier": "low", "model": "m", "host": "h"}, KEY))
        await store.close()

    anyio.run(work)


@contextmanager
def server(shell: Shell, tmp_path: Path, **environ: str) -> Generator[StdioClient]:
    """The server that a worker's program has started."""
    enter = ["/bin/sh", "-c", f'exec 9<>"$LIFE"; exec {WARDEN} 9 "$@"', "sh"]
    env = shell.environment(LIFE=_life(shell), WVO_TOOLSETS="core,approvals", **environ)
    client = StdioClient(env, shell.root, tmp_path / "log", enter=enter).open()
    try:
        yield client
    finally:
        client.close()


def test_the_server_of_a_worker_does_what_its_key_allows(shell: Shell, tmp_path: Path) -> None:
    shell.process("create-tasks", "--tasks", TASK)
    shell.process("claim-task", "T2", WVO_AGENT_ID="auto-host.1")
    launch(shell.root)
    with server(shell, tmp_path, WVO_WORKER_KEY=KEY) as client:
        saved = client.call("checkpoint", {"task_id": "T2", "summary": "half"})
        with pytest.raises(Refused) as other:
            client.call("claim_task", {})
        asked = client.call("approval_request", {"task_id": "T2", "command": "git push"})
        with pytest.raises(Refused) as later:
            client.call("context_write", {"topic": "t", "content": "c"})

    assert saved["checkpoint"]["seq"] == 1
    assert other.value.code == "forbidden"
    assert "works on T2 alone" in str(other.value)
    assert asked["task"]["status"] == "awaiting_approval"
    assert "void" in str(later.value)
    assert KEY not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("key", [None, pytest.param("b2" * 32, marks=pytest.mark.full)])
def test_a_server_below_a_worker_without_the_right_key_only_reads_and_says_why(
    shell: Shell, tmp_path: Path, key: str | None
) -> None:
    shell.process("create-tasks", "--tasks", TASK)
    with server(shell, tmp_path, **({} if key is None else {"WVO_WORKER_KEY": key})) as client:
        with pytest.raises(Refused) as answer:
            client.call("claim_task", {})
        assert client.call("get_task", {"task_id": "T2"})["task"]["status"] == "pending"
    assert answer.value.code == "forbidden"
    assert "may only read" in str(answer.value)
    assert ("shows no key" if key is None else "WVO_WORKER_KEY") in str(answer.value)


POST = """
import sys, urllib.error, urllib.request
body = b'{"task_id": "T2"}'
request = urllib.request.Request(sys.argv[1], body, {"Content-Type": "application/json"})
try:
    print(urllib.request.urlopen(request).read().decode())
except urllib.error.HTTPError as error:
    print(error.read().decode())
"""


def test_over_http_a_worker_only_reads_however_it_names_itself(shell: Shell) -> None:
    shell.process("create-tasks", "--tasks", TASK)
    ask = shlex.join([sys.executable, "-c", POST])
    command = [sys.executable, "-m", "wvo_mcp", "serve", "--http", "--port", "0"]
    with subprocess.Popen(
        command, env=shell.environment(), cwd=shell.root, stdout=subprocess.PIPE, text=True
    ) as served:
        try:
            assert served.stdout is not None
            address = served.stdout.readline().strip()
            claimed = json.loads(below_a_warden(shell, f"env -i {ask} {address}/api/claim_task").out)
            read = json.loads(below_a_warden(shell, f"env -i {ask} {address}/api/get_task").out)
            attended = json.loads(in_shell(shell, f"{ask} {address}/api/claim_task").out)
        finally:
            served.terminate()

    assert claimed["error"]["code"] == "forbidden"
    assert "worker" in claimed["error"]["message"]
    assert read["task"]["status"] == "pending"
    assert attended["task"]["id"] == "T2"
