"""What a run in the sandbox takes beside `docker run --rm` of the same command in a container of the same limits."""

import os
import subprocess
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import anyio

from scripts.benchmarks.figures import Figure, Floor, Report, Target
from wvo_mcp.domain.sandbox import IMAGE, Limits
from wvo_mcp.execution.sandbox.engine import Engine
from wvo_mcp.execution.sandbox.mounts import Here
from wvo_mcp.execution.sandbox.reaping import Journal
from wvo_mcp.execution.sandbox.running import DockerSandbox
from wvo_mcp.ports.sandbox import Run

_SAME = (
    *("docker", "run", "--rm", "--init", "--network", "none", "--read-only", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges", "--memory", "512m", "--memory-swap", "512m", "--cpus", "1"),
    *("--pids-limit", "128", "--user", "65532:65532", "--log-driver", "none", "--ulimit", "core=0"),
    *("--tmpfs", "/work:exec,size=64m", "--tmpfs", "/tmp:size=64m", "--workdir", "/work", "--env", "HOME=/work"),  # noqa: S108
    *(IMAGE, "sh", "-c", "echo hello"),
)


def measure(report: Report, *, quick: bool) -> None:
    engine = Engine(os.environ)
    if (
        not engine.seems_there()
        or subprocess.run(("docker", "image", "inspect", IMAGE), capture_output=True).returncode
    ):
        report.console.print(
            f"sandbox: there is no Docker engine with the image {IMAGE}; scripts/sandbox-image builds it"
        )
        return
    ours: dict[str, list[float]] = {"a run in the sandbox": [], "the same with a file": []}
    theirs: list[float] = []
    with TemporaryDirectory(prefix="wvo-bench-") as folder:
        here = Here(root=folder, state=f"{folder}/state", worktrees=f"{folder}/state/worktrees", home=folder)
        sandbox = DockerSandbox(engine, here, Journal(Path(folder, "state", "sandbox"), folder))

        async def one(files: dict[str, bytes]) -> None:
            wanted = Run(image=IMAGE, command=("sh", "-c", "echo hello"), limits=Limits(), files=files)
            assert (await sandbox.run(wanted)).stdout == b"hello\n"

        async def rounds() -> None:
            await one({})
            for _ in range(3 if quick else 30):  # in turns, so that what else the machine does weighs on both
                begun = perf_counter()
                await anyio.to_thread.run_sync(lambda: subprocess.run(_SAME, check=True, capture_output=True))
                theirs.append((perf_counter() - begun) * 1_000)
                for taken, files in zip(ours.values(), ({}, {"a.txt": b"x"}), strict=True):
                    begun = perf_counter()
                    await one(files)
                    taken.append((perf_counter() - begun) * 1_000)

        anyio.run(rounds)
    floors = [Floor("docker run --rm", median(theirs))]
    targets = [Target(1.2, of="ratio")]
    for name, taken in ours.items():
        report.add(Figure(name, "ms", median(taken), floors=floors, targets=targets, samples=len(taken)))
