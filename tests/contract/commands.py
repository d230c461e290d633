"""`wvo-mcp COMMAND`, as people run it in a workspace."""

import subprocess
import sys

from tests.support.workspace import Workspace


def run_command(workspace: Workspace, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "wvo_mcp", *arguments),
        env=workspace.environ(**settings),
        cwd=workspace.root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
