"""A folder without git, in which each task has a copy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import Bench
from tests.support.yard import Yard, digests
from wvo_mcp.domain.lease import Caller
from wvo_mcp.operations import ALL
from wvo_mcp.ports.places import Place

_OURS = ("state",)


class Plain:
    """A folder without git, and T1 in the hands of a worker."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard
        self.root = yard.root

    async def begin(self, task_id: str = "T1") -> tuple[Caller, Place]:
        return await self.yard.opened(task_id)

    async def call(self, tool: str, caller: Caller, **arguments: Any) -> Mapping[str, Any]:
        return await ALL[tool](self.yard.services, caller, {"task_id": "T1", **arguments})

    def project(self) -> dict[str, str]:
        return digests(self.root, _OURS)

    async def row(self, task_id: str = "T1") -> Mapping[str, Any]:
        row = await self.yard.bench.read(lambda tx: tx.workspaces.open_of(task_id))
        assert row is not None
        return row


@pytest.fixture
def plain(tmp_path: Path, bench: Bench, home: Path) -> Plain:
    yard = Yard(tmp_path / "plain", bench)
    yard.root.mkdir()
    yard.write(
        yard.root, {"code.py": "a = 1\nb = 2\nc = 3\n", "docs/a.md": "one\n", ".gitignore": "*.log\n", "x.log": "x\n"}
    )
    (yard.root / "run.sh").write_text("#!/bin/sh\n")
    (yard.root / "run.sh").chmod(0o755)
    (yard.root / "link").symlink_to("docs/a.md")
    return Plain(yard)
