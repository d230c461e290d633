"""A real Docker engine with our image, for tests; each test leaves no container behind."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import eventually
from wvo_mcp.domain.sandbox import IMAGE, Grant, Limits
from wvo_mcp.execution.sandbox.engine import Engine
from wvo_mcp.execution.sandbox.mounts import Here
from wvo_mcp.execution.sandbox.reaping import STORE, Journal
from wvo_mcp.execution.sandbox.running import DockerSandbox
from wvo_mcp.ports.sandbox import Mount, Ran, Run

BUILDING = Path(__file__).parents[2] / ".cache" / "test" / "sandbox-image"
"""`scripts/test` writes how the building of the image ended: `ok`, or the reason. Empty while it goes on."""
_BUILD_SECONDS = 600


def docker(*argv: str) -> str:
    return subprocess.run(("docker", *argv), check=True, capture_output=True, text=True, timeout=120).stdout.strip()


def need_docker() -> None:
    """Skip the test where there is no engine with our image; on a build server that is a failure."""
    reason = _why_missing()
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@cache
def _why_missing() -> str | None:
    told = [line for line in os.environ.get("WVO_TEST_MISSING", "").split("\n") if line.startswith("docker:")]
    if told:
        return told[0]
    if not Engine(os.environ).seems_there():
        return "docker: there is no engine; ./scripts/test installs and starts one"
    try:
        if BUILDING.exists():
            eventually(lambda: bool(BUILDING.read_text()), _BUILD_SECONDS)
        if not docker("images", "-q", IMAGE):
            return f"docker: there is no image {IMAGE}: {BUILDING.read_text() if BUILDING.exists() else 'not built'}"
    except (subprocess.SubprocessError, OSError) as error:
        return f"docker: {error}"
    return None


class Sandboxed:
    """A project in a folder of its own, whose sandbox grants what the test says."""

    def __init__(self, root: Path, environ: Mapping[str, str] | None = None) -> None:
        self.root, self.state = root.resolve() / "project", root.resolve() / "project" / "state"
        self.state.mkdir(parents=True)
        self.engine = Engine(os.environ if environ is None else environ)
        self.journal = Journal(self.state / "sandbox", str(self.state))
        here = Here(
            root=str(self.root),
            state=str(self.state),
            worktrees=str(self.state / "worktrees"),
            home=str(root.resolve() / "home"),
            closed=(self.engine.socket,),
            fixed=(str(root.resolve() / "home" / ".config"),),
        )
        self.sandbox = DockerSandbox(self.engine, here, self.journal)
        self.grant = Grant()

    async def run(self, *command: str, mounts: tuple[Mount, ...] = (), **fields: Any) -> Ran:
        limits = replace(Limits(seconds=60.0), **{name: fields.pop(name) for name in tuple(fields) if name in _LIMITS})
        argv = ("sh", "-c", *command) if len(command) == 1 else command
        wanted: dict[str, Any] = {"image": IMAGE, "grant": self.grant, "mounts": mounts, **fields}
        return await self.sandbox.run(Run(command=argv, limits=limits, **wanted))

    def containers(self, status: str | None = None) -> list[str]:
        """Ids of those that are there, or in this state."""
        only = () if status is None else ("--filter", f"status={status}")
        return docker("ps", "-aq", "--filter", f"label={STORE}={self.state}", *only).split()

    def close(self) -> None:
        for one in self.containers():
            docker("rm", "-f", one)


_LIMITS = frozenset(Limits.__dataclass_fields__)


def without_guards(probe: str, *options: str) -> str:
    """What the probe prints in a container where what should stop it is turned off."""
    argv = ("docker", "run", "--rm", "--network", "none", "--log-driver", "none", *options, IMAGE, "sh", "-c", probe)
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=120)
    return (done.stdout or done.stderr).strip()


def outside(*argv: str) -> subprocess.Popen[bytes]:
    """The same on the machine itself; leaving it as a context waits for its end."""
    return subprocess.Popen(argv, stdout=subprocess.PIPE)


def run_program(argv: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(argv, check=False, capture_output=True, timeout=60)
