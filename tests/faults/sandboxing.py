"""A process that runs something in the sandbox, and kills itself at a step: `python -m tests.faults.sandboxing FOLDER STEP`."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import docker

from tests.support.sandboxes import Sandboxed
from wvo_mcp.execution.sandbox import running

STEPS = ("create_container", "attach_socket", "start", "wait", "remove_container")


def killed(*_given: Any, **_named: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(folder: str, step: str, when: str) -> None:
    api: Any = docker.APIClient
    real: Callable[..., Any] = getattr(api, step)

    def replaced(*given: Any, **named: Any) -> Any:
        if when == "before":
            killed()
        real(*given, **named)
        killed()

    setattr(api, step, replaced)
    assert running.logger is not None
    box = Sandboxed(Path(folder))
    command = "true" if step in ("wait", "remove_container") else "sleep 600"
    anyio.run(box.run, command)


if __name__ == "__main__":
    main(*sys.argv[1:])
