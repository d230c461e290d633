"""`wvo-mcp COMMAND`, as people run it in a workspace."""

import subprocess

from tests.support import forked
from tests.support.workspace import Workspace


def run_command(workspace: Workspace, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = ["wvo_mcp", *arguments]
    return forked.run(command, env=workspace.environ(**settings), cwd=workspace.root)
