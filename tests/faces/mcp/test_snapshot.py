"""The snapshot that the front answers from."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wvo_mcp import front
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.faces.mcp import snapshot

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts" / "generate_snapshot.py"


@pytest.mark.anyio
@pytest.mark.requirement("CORE-3")
async def test_the_recorded_answers_are_those_of_the_server(tmp_path: Path) -> None:
    recorded = json.loads(Path(front.__file__).with_name("snapshot.json").read_text())

    assert recorded == await snapshot.take(DirectiveFiles(tmp_path)), "run scripts/snapshot"


def test_the_script_says_whether_the_snapshot_is_up_to_date() -> None:
    checked = subprocess.run(
        [sys.executable, SCRIPT, "--check"], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )

    assert (checked.returncode, checked.stderr) == (0, "")
