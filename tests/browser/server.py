"""A real server of the page, as a process of its own."""

import json
import os
import re
import select
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tests.support import forked
from tests.support.workspace import REPOSITORY

_PATIENCE_SECONDS = 60.0


class PageServer:
    """`wvo-mcp serve --http` for a project; `options` are further ones of the command."""

    def __init__(self, root: Path, home: Path, port: int = 0, options: Sequence[str] = (), **settings: str) -> None:
        self.root, self.home, self.port, self.options, self.settings = root, home, port, options, settings
        self.address = ""
        self._process: forked.Speaking | None = None
        self.log = home / "serve.log"
        home.mkdir(parents=True, exist_ok=True)

    def environ(self) -> dict[str, str]:
        plain = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.home), "PYTHONPATH": str(REPOSITORY)}
        return {**plain, "ROOT": str(self.root), **self.settings}

    def start(self) -> "PageServer":
        """Waits until it says where it listens. The port stays the same over restarts."""
        command = ["wvo_mcp", "serve", "--http", "--port", str(self.port), *self.options]
        with self.log.open("ab") as log:
            self._process = forked.Speaking(command, cwd=self.root, env=self.environ(), stderr=log.fileno())
        # Its first line is the address, the next says how to sign in.
        self.address = self._read_until(r"http://\S+\n[^\n]+\n").split()[0]
        self.port = int(self.address.rpartition(":")[2])
        return self

    def sign_in_link(self) -> str:
        """The next one-time link: the command `login-link` prints one at any time."""
        made = urlsplit(json.loads(self.command("login-link", "--json"))["address"])
        return self.address + made.path

    def token(self, name: str, role: str) -> str:
        return json.loads(self.command("token", "create", name, "--role", role, "--json"))["token"]

    def command(self, *words: str) -> str:
        """A person's command in the project; what it prints."""
        done = forked.run(["wvo_mcp", *words], cwd=self.root, env=self.environ(), timeout=_PATIENCE_SECONDS)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(_PATIENCE_SECONDS)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()
            self._process = None

    def _read_until(self, wanted: str) -> str:
        assert self._process is not None
        until, shown = time.monotonic() + _PATIENCE_SECONDS, b""
        while time.monotonic() < until:
            ready, _, _ = select.select([self._process.stdout], [], [], 0.2)
            if ready:
                part = os.read(self._process.stdout.fileno(), 65_536)
                if not part:
                    break
                shown += part
            if re.search(wanted, shown.decode(errors="replace")):
                return shown.decode()
        raise AssertionError(f"the server did not start: {shown!r} {self.log.read_text(errors='replace')[-2000:]}")
