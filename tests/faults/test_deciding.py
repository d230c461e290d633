"""Approvals whose time is over while nobody could write that down."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from tests.support.bench import OWNER
from tests.support.databases import looked_at
from tests.support.postgres import Cluster
from tests.support.services import Services
from tests.support.stores import a_store
from tests.support.waiting import eventually
from tests.support.workspace import Workspace, some_tasks
from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.lease import Policy
from wvo_mcp.errors import Conflict
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.operations import ALL

pytestmark = pytest.mark.requirement("APPR-1", "APPR-2")


def approved(folder: Path, database: Path | str) -> dict[str, object]:
    """What a person is answered who approves A-1."""

    async def approve() -> dict[str, object]:
        store = a_store(folder, database) if isinstance(database, str) else a_store(database.parent, None)
        await store.open()
        roadmap, directives = RoadmapSource(folder / "roadmap.yaml"), DirectiveFiles(folder)
        services = Services(store=store, policy=Policy(), roadmap=roadmap, directives=directives)
        try:
            return await ALL["approve"](services, OWNER, {"id": "A-1"})
        finally:
            await store.close()

    return anyio.run(approve)


def asked(workspace: Workspace) -> datetime:
    """A command of T1 waits, and its server is gone; when silence becomes a no."""
    workspace.settings = {"WVO_APPROVAL_EXPIRES_SECONDS": "2", "WVO_TOOLSETS": "all"}
    client = workspace.spawn("ann")
    client.open()
    client.call("create_tasks", some_tasks("T1"))
    client.call("claim_task", {"task_id": "T1"})
    line = client.call("approval_request", {"task_id": "T1", "command": "make deploy"})["approval"]
    client.close()
    return instant(line["expires_at"])


@pytest.fixture
def workspace(own_postgres: Cluster, tmp_path: Path) -> Iterator[Workspace]:
    with own_postgres.database() as url:
        made = Workspace(tmp_path / "workspace", tmp_path / "logs", url)
        yield made
        made.close()


def test_what_expired_while_the_database_was_away_is_a_no(
    workspace: Workspace, own_postgres: Cluster, tmp_path: Path
) -> None:
    expires = asked(workspace)
    own_postgres.stop("immediate")
    eventually(lambda: datetime.now(UTC) > expires + timedelta(milliseconds=10))
    own_postgres.start()

    with pytest.raises(Conflict, match="A-1 has expired"):
        approved(tmp_path, str(workspace.source))

    with looked_at(workspace.source) as database:
        assert database.value("SELECT state FROM approvals") == "expired"
        assert database.rows("SELECT status, block_author FROM tasks") == [
            {"status": "blocked", "block_author": "approval"}
        ]
        assert database.value("SELECT count(*) FROM alerts WHERE kind = 'approval' AND resolved_at IS NULL") == 0


def test_what_expired_while_no_process_ran_is_a_no(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace", tmp_path / "logs")
    expires = asked(workspace)
    workspace.close()
    eventually(lambda: datetime.now(UTC) > expires + timedelta(milliseconds=10))

    with pytest.raises(Conflict, match="A-1 has expired"):
        approved(tmp_path, workspace.database)

    with looked_at(workspace.source) as database:
        assert database.value("SELECT state FROM approvals") == "expired"
        assert database.value("SELECT status FROM tasks") == "blocked"
