"""`wvo-mcp serve --http` as a process of its own, and commands in its projects."""

import json
import os
import select
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support import forked
from tests.support.workspace import REPOSITORY

PATIENCE_SECONDS = 60.0


def environ_of(home: Path, **settings: str) -> dict[str, str]:
    """Nothing of the surrounding environment but the path."""
    plain = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "PYTHONPATH": str(REPOSITORY)}
    return {**plain, **settings}


def command(root: Path, home: Path, *words: str, status: int = 0) -> dict[str, Any]:
    """What a person's command in the project gives."""
    done = forked.run(["wvo_mcp", *words, "--json"], cwd=root, env=environ_of(home), timeout=PATIENCE_SECONDS)
    assert done.returncode == status, done.stderr
    return dict(json.loads(done.stdout))


class Served:
    """Until the block ends. `lines` are what it printed when it began. `constants` of modules, by their full names, have
    another value there."""

    def __init__(
        self,
        home: Path,
        *words: str,
        projects: Mapping[str, Path] | None = None,
        constants: Mapping[str, float] | None = None,
        **settings: str,
    ) -> None:
        self.home, self._constants, self._settings = home, constants, settings
        named = [word for name, root in (projects or {}).items() for word in ("--project", f"{name}={root}")]
        self._words = ["serve", "--http", "--no-run", "--port", "0", *named, *words]
        self._lines_wanted = 1 + len(projects or {"": home})
        self.lines: list[str] = []
        self.port = 0
        home.mkdir(parents=True, exist_ok=True)
        self.log = home / "serve.log"

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "Served":
        with self.log.open("ab") as log:
            self.process = forked.Speaking(
                ["wvo_mcp", *self._words],
                cwd=self.home,
                env=environ_of(self.home, **self._settings),
                stderr=log.fileno(),
                constants=self._constants,
            )
        until, shown = time.monotonic() + PATIENCE_SECONDS, b""
        while shown.count(b"\n") < self._lines_wanted:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, until - time.monotonic()))
            part = os.read(self.process.stdout.fileno(), 65_536) if ready else b""
            if not part:
                self.end()
                raise AssertionError(f"it did not start: {shown!r} {self.log.read_text(errors='replace')[-2_000:]}")
            shown += part
        self.lines = shown.decode().splitlines()
        self.port = int(self.lines[0].rpartition(":")[2])
        return self

    def end(self, how: signal.Signals = signal.SIGTERM) -> float:
        """The seconds that it took."""
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.process.wait(PATIENCE_SECONDS)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()
        return time.monotonic() - began

    def __exit__(self, *_: object) -> None:
        self.end()
