"""A runner that is killed while it verifies: what it ran ends, and nobody verifies beside it meanwhile (MERGE-7)."""

import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.execution.merging.conftest import Field
from tests.support.waiting import eventually
from tests.support.workspace import REPOSITORY
from wvo_mcp.execution.merging.verifying import Verifier
from wvo_mcp.ports.merging import Candidate, NotNow

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("MERGE-7", "REV-4")]
RUNNER = """
import sys
from pathlib import Path
import anyio
from wvo_mcp.execution.merging.verifying import Verifier
from wvo_mcp.execution.workspaces.repository import Common
from wvo_mcp.ports.merging import Candidate
root, commit, tree, command = Path(sys.argv[1]), *sys.argv[2:]
common = Common.of(root)
verifier = Verifier(root, root / "state" / "worktrees", root / "state" / "workers")
candidate = Candidate(commit=commit, tree=tree, tip=commit)
async def main():
    await verifier.verify(common, candidate, [command], seconds=600, setup=None, names=())
anyio.run(main)
"""


async def test_after_a_kill_the_next_verification_waits_for_the_end_of_the_last(tmp_path: Path) -> None:
    field = Field(tmp_path / "shop")
    commit = field.saved({".gitignore": "state/\n", "new.py": "1\n"})
    tree = field.git("rev-parse", "HEAD^{tree}")
    begun, wrote = tmp_path / "begun", tmp_path / "wrote"
    command = f"trap '' TERM; touch {begun}; while :; do echo late > late.py; touch {wrote}; done"
    argv = [sys.executable, "-c", RUNNER, str(field.root), commit, tree, command]
    async with await anyio.open_process(argv, cwd=REPOSITORY) as runner:
        await anyio.to_thread.run_sync(lambda: eventually(begun.exists, seconds=60))
        runner.kill()

    verifier = Verifier(field.root, field.root / "state" / "worktrees", field.root / "state" / "workers")
    candidate = Candidate(commit=commit, tree=tree, tip=commit)
    common = await anyio.to_thread.run_sync(lambda: field.common)
    with anyio.fail_after(60):
        while True:
            try:
                verdict = await verifier.verify(
                    common, candidate, ["test ! -e late.py", "test -f new.py"], seconds=60, setup=None, names=()
                )
                break
            except NotNow as error:
                assert "another process verifies" in error.reason
                await anyio.sleep(0.05)
    assert verdict.passed
