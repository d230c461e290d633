"""`sandbox_run` judges what is asked for before anything is run, and says what came of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from tests.support.sessions import a_person
from tests.support.yard import Yard
from wvo_mcp.domain.policy import SafetyPolicy
from wvo_mcp.domain.sandbox import IMAGE, Grant, How, Limits, SandboxPolicy
from wvo_mcp.errors import Forbidden, InvalidInput, NotConfigured, StaleLease, WvoError
from wvo_mcp.operations.container import Container
from wvo_mcp.operations.operation import ALL
from wvo_mcp.ports.sandbox import Mount, Ran, Run

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SBX-2")]


@dataclass
class Scripted:
    """Answers as it is told, and keeps what it was asked for."""

    answer: Ran | WvoError = field(
        default_factory=lambda: Ran(exit_code=0, stdout=b"out", stderr=b"", seconds=0.5, how=How.EXIT, image="sha256:1")
    )
    asked: list[Run] = field(default_factory=list[Run])

    async def run(self, wanted: Run) -> Ran:
        self.asked.append(wanted)
        if isinstance(self.answer, WvoError):
            raise self.answer
        return self.answer


@dataclass
class Judged:
    """A policy as it holds."""

    sandbox: SandboxPolicy = field(default_factory=SandboxPolicy)

    async def refresh(self) -> None: ...

    def policy(self) -> SafetyPolicy:
        return SafetyPolicy(sandbox=self.sandbox)


class Desk:
    def __init__(self, bench: Bench) -> None:
        self.bench, self.judge, self.box = bench, Judged(), Scripted()

    async def run(self, caller: Any = ANN, **arguments: Any) -> dict[str, Any]:
        parts: dict[type | str, object] = {
            "wvo_mcp.ports.safety.Judge": self.judge,
            "wvo_mcp.ports.sandbox.Sandbox": self.box,
        }
        services: Container = self.bench.services.having(parts)
        return await ALL["sandbox_run"](services, caller, arguments)

    @property
    def asked(self) -> Run:
        return self.box.asked[-1]


@pytest.fixture
def desk(bench: Bench) -> Desk:
    return Desk(bench)


@pytest.mark.requirement("SBX-1")
async def test_a_run_has_the_shipped_limits_and_an_event(desk: Desk) -> None:
    result = await desk.run(command="echo $HOME")
    assert desk.asked == Run(
        image=IMAGE,
        command=["sh", "-c", "echo $HOME"],
        limits=Limits(),
        policy=SafetyPolicy(sandbox=SandboxPolicy()),
        mounts=[],
    )
    assert result == {
        "ended": "exit", "exit_code": 0, "stdout": "out", "stderr": "", "duration": 0.5, "image": "sha256:1",
    }  # fmt: skip
    events = await desk.bench.read(lambda tx: tx.events.after(0, 10, None, "sandbox.ran"))
    assert events[0].data["image"] == IMAGE and events[0].agent_id == "ann"


async def test_limits_beyond_the_policy_are_cut_and_named(desk: Desk) -> None:
    result = await desk.run(command="true", limits={"memory_mb": 100_000, "seconds": 5})
    assert result["cut"] == ["memory_mb"] and desk.asked.limits == Limits(seconds=5)


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ({"image": "python:3"}, "sandbox.images"),
        ({"env": {"TOKEN": "x"}}, "sandbox.env"),
        ({"egress": ["api.example"]}, "sandbox.egress"),
    ],
)
async def test_what_is_not_listed_is_forbidden_and_nothing_runs(desk: Desk, asked: dict[str, Any], key: str) -> None:
    with pytest.raises(Forbidden) as refused:
        await desk.run(command="true", **asked)
    assert refused.value.details["policy"] == key and refused.value.details["field"] == next(iter(asked))
    assert desk.box.asked == []
    desk.judge.sandbox = SandboxPolicy(grant=Grant(images=("python:3",), env=("TOKEN",)))
    if "egress" not in asked:
        await desk.run(command="true", **asked)
        assert (desk.asked.image, dict(desk.asked.env)) == (asked.get("image", IMAGE), asked.get("env", {}))


@pytest.mark.requirement("SBX-3")
async def test_egress_that_is_allowed_is_not_to_be_had_yet(desk: Desk) -> None:
    desk.judge.sandbox = SandboxPolicy(grant=Grant(egress=("api.example",)))
    with pytest.raises(NotConfigured):
        await desk.run(command="true", egress=["api.example"])
    assert desk.box.asked == []


async def test_mounts_are_judged_by_the_policy_of_the_call(desk: Desk) -> None:
    desk.judge.sandbox = SandboxPolicy(grant=Grant(read=("src",)))
    await desk.run(command="true", mounts=[{"path": "src"}, {"path": "b", "at": "/mnt/b", "write": True}])
    assert desk.asked.mounts == [Mount(path="src"), Mount(path="b", at="/mnt/b", write=True)]
    assert desk.asked.grant.read == ("src",)


async def test_a_task_has_what_its_labels_allow_for_who_holds_it(desk: Desk) -> None:
    more = Grant(images=("gcc:1",), limits=Limits(memory_mb=2_048))
    desk.judge.sandbox = SandboxPolicy(by_label={"heavy": more})
    await desk.bench.create(a_task("T1", labels=["heavy"]), a_task("T2"))
    await desk.bench.claim(task_id="T1")
    await desk.bench.claim(BOB, "T2")
    await desk.run(command="true", image="gcc:1", limits={"memory_mb": 2_048}, task_id="T1")
    assert desk.asked.limits.memory_mb == 2_048
    events = await desk.bench.kinds("T1")
    assert "sandbox.ran" in events
    for caller, task in ((BOB, "T1"), (ANN, "T2")):
        with pytest.raises(StaleLease):
            await desk.run(caller, command="true", task_id=task)
    with pytest.raises(Forbidden):
        await desk.run(command="true", image="gcc:1")


@pytest.mark.requirement("SBX-1")
@pytest.mark.parametrize(
    ("language", "argv"), [("python", ["python3", "main.py"]), ("sh", ["sh", "main.sh"]), ("node", ["node", "main.js"])]
)
async def test_code_is_a_file_that_its_language_runs(desk: Desk, language: str, argv: list[str]) -> None:
    await desk.run(code="x = '\u00e9'", language=language, files={"a/b": "c"})
    assert desk.asked.command == argv
    assert desk.asked.files == {"a/b": b"c", argv[1]: "x = '\u00e9'".encode()}


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"command": "true", "code": "x"},
        {"command": []},
        {"command": ""},
        {"command": ["a\0b"]},
        {"code": "x", "files": {"main.py": "y"}},
        {"command": "true", "files": {"../x": ""}},
        {"command": "true", "files": {"/etc/passwd": ""}},
        {"command": "true", "files": {"a\0": ""}},
        {"command": "true", "files": {"a": "", "a/b": ""}},
        {"command": "true", "files": {"a": "x" * 4_000_001}},
        {"command": "true", "files": {str(number): "" for number in range(201)}},
        {"command": "true", "files": {"a": "\ud800"}},
        {"command": "true", "env": {"A=B": "x"}},
        {"command": "true", "env": {"A\n": "x"}},
        {"command": "true", "env": {"A": "x\0"}},
        {"command": "true", "limits": {"seconds": 0}},
        {"command": "true", "limits": {"memory": 1}},
        {"command": "true", "image": ""},
    ],
)
async def test_what_cannot_be_meant_is_refused_before_anything_runs(desk: Desk, asked: dict[str, Any]) -> None:
    desk.judge.sandbox = SandboxPolicy(grant=Grant(env=("A", "A\n", "A=B")))
    with pytest.raises(InvalidInput):
        await desk.run(**asked)
    assert desk.box.asked == []


@pytest.mark.requirement("SBX-1")
async def test_long_output_is_shown_by_its_ends(desk: Desk) -> None:
    desk.box.answer = Ran(
        exit_code=None, stdout=b"a" * 500_000 + b"z", stderr=b"\xff\0", seconds=1, how=How.OUTPUT, image="i"
    )
    result = await desk.run(command="true")
    assert result["exit_code"] is None and result["stdout_cut"] and result["stderr_cut"] and result["ended"] == "output"
    assert len(result["stdout"]) < 9_000 and result["stdout"].startswith("a") and result["stdout"].endswith("z")
    assert result["stderr"] == "\ufffd\u2400"


@pytest.mark.requirement("SBX-4")
async def test_without_docker_nothing_runs_and_the_reason_is_said(desk: Desk, tmp_path: Path) -> None:
    desk.box.answer = NotConfigured("There is no Docker engine here.", hint="Start Docker.")
    marker = tmp_path / "ran"
    with pytest.raises(NotConfigured, match="no Docker engine"):
        await desk.run(a_person(), command=f"touch {marker}")
    assert not marker.exists()


async def test_a_worker_has_what_its_own_task_may_while_it_holds_it(yard: Yard) -> None:
    desk = Desk(yard.bench)
    desk.judge.sandbox = SandboxPolicy(by_label={"heavy": Grant(env=("TOKEN",))})
    heavy, light = await yard.claimed("T1", labels=["heavy"]), await yard.claimed("T2")
    await desk.run(heavy, command="true", env={"TOKEN": "x"})
    assert desk.asked.env == {"TOKEN": "x"}
    with pytest.raises(Forbidden, match=r"sandbox\.env"):
        await desk.run(light, command="true", env={"TOKEN": "x"})
    with pytest.raises(Forbidden, match="works on T2 alone"):
        await desk.run(light, command="true", env={"TOKEN": "x"}, task_id="T1")
    await yard.bench.call("release_task", heavy, task_id="T1")
    with pytest.raises(StaleLease):
        await desk.run(heavy, command="true")
    assert len(desk.box.asked) == 1
