"""A workspace folder with real servers on it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import Source
from tests.support.stdio_client import HANDSHAKE, StdioClient

REPOSITORY = Path(__file__).resolve().parents[2]


class Workspace:
    """One store, in the folder or in the PostgreSQL database of `url`; `server` starts a process on it. Settings are
    environment variables, for all servers or for one."""

    def __init__(self, root: Path, logs: Path, url: str | None = None, **settings: str) -> None:
        self.root = root
        self.logs = logs
        self.url = url
        self.settings = settings
        self.started: list[StdioClient] = []
        self.enter: tuple[str, ...] = ()
        """A command that runs each server elsewhere."""
        self.fresh = False
        """Servers start as clients start them; else they are forked from a warm process, which takes a tenth."""
        self.constants: dict[str, float] = {}
        """Of modules, by their full names, for servers that are forked: no test need wait for as long as people may."""
        root.mkdir(parents=True, exist_ok=True)
        logs.mkdir(parents=True, exist_ok=True)

    @property
    def database(self) -> Path:
        """The file of the embedded store."""
        return self.root / "state" / "state.db"

    @property
    def source(self) -> Source:
        """What to look at with `tests.support.databases`."""
        return self.url or self.database

    def environ(self, **settings: str) -> dict[str, str]:
        """What a server of this workspace is started with: nothing of the surrounding environment but the path."""
        plain = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.logs), "PYTHONPATH": str(REPOSITORY)}
        there = {"WVO_DATABASE_URL": self.url} if self.url else {}
        return {**plain, "ROOT": str(self.root), **there, **self.settings, **settings}

    def spawn(self, agent_id: str, *, era: str = HANDSHAKE, cwd: Path | None = None, **settings: str) -> StdioClient:
        """A server that was started and not yet spoken to."""
        environ = self.environ(WVO_AGENT_ID=agent_id, **settings)
        log = self.logs / f"{len(self.started)}-{agent_id}.log"
        given = {name: value for name, value in environ.items() if value}
        client = StdioClient(
            given, cwd or self.root, log, era=era, enter=self.enter, constants=None if self.fresh else self.constants
        )
        self.started.append(client)
        return client

    def server(self, agent_id: str, *, era: str = HANDSHAKE, cwd: Path | None = None, **settings: str) -> StdioClient:
        """A server that serves `agent_id`."""
        return self.spawn(agent_id, era=era, cwd=cwd, **settings).open()

    def logged(self) -> str:
        """All that the servers wrote to stderr."""
        return "".join(log.read_text(errors="replace") for log in sorted(self.logs.glob("*.log")))

    def close(self) -> None:
        for client in self.started:
            client.close()


@pytest.fixture
def workspace(store_kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Workspace]:
    """An empty workspace on either kind of store; its servers do not outlive the test."""
    url = request.getfixturevalue("store_url") if store_kind == "postgres" else None
    made = Workspace(tmp_path / "workspace", tmp_path / "logs", url)
    yield made
    made.close()


def some_tasks(*task_ids: str, **fields: Any) -> dict[str, Any]:
    """Arguments of create_tasks."""
    return {"tasks": [{"id": task_id, "title": f"Do {task_id}", **fields} for task_id in task_ids]}
