"""How long the judgement of one command takes, beside its parse alone; and a hook of a client, beside the bare interpreter."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from scripts.benchmarks.figures import Figure, Floor, Report, Target
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.execution.safety import shell
from wvo_mcp.execution.safety.judge import PolicyJudge
from wvo_mcp.execution.trust import Trust

_COMMANDS = (
    "ls -la src",
    "cd src && git add -A && git commit -m 'fix: it'",
    "for f in src/*.py; do sed -i 's/a/b/' \"$f\"; done",
    "timeout 60 bash -c 'pytest -q tests 2>&1 | tail -20 > build/log'",
)


def measure(report: Report, *, quick: bool) -> None:
    times = 100 if quick else 1_000
    with TemporaryDirectory(prefix="wvo-bench-") as folder:
        root = Path(folder) / "root"
        (root / "src").mkdir(parents=True)
        environ = {"HOME": folder}
        judge = PolicyJudge(root / "policy.yaml", Trust(environ, root), SystemClock(), root, environ)
        judged = _median(lambda: [judge.command(one, root, root, attended=False) for one in _COMMANDS], times)
        parsed = _median(lambda: [shell.parse(one) for one in _COMMANDS], times)
        per = 1_000 / len(_COMMANDS)
        floors = [Floor("the parse alone", parsed * per)]
        report.add(
            Figure("judgement of a command", "us", judged * per, floors=floors, targets=[Target(1_000)], samples=times)
        )
        times = 5 if quick else 25
        text = f'{{"cwd": "{root}", "tool_input": {{"command": "ls -la"}}}}'.encode()
        hook = [sys.executable, "-m", "wvo_mcp", "command-check", "--hook", "claude"]
        floors = [Floor("python -c pass", _median(lambda: _run([sys.executable, "-c", "pass"], b"", folder), times))]
        report.add(
            Figure(
                "hook before a command",
                "ms",
                _median(lambda: _run(hook, text, folder), times),
                floors=floors,
                samples=times,
            )
        )


def _run(argv: list[str], text: bytes, home: str) -> None:
    subprocess.run(argv, input=text, check=True, capture_output=True, env={**os.environ, "HOME": home})


def _median(work: Callable[[], object], times: int) -> float:
    """Milliseconds."""
    work()
    taken: list[float] = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begun) * 1_000)
    return median(taken)
