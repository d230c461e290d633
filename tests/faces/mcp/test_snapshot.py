"""The snapshot that the front answers from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts" / "generate_snapshot.py"


@pytest.mark.requirement("CORE-3")
def test_the_recorded_answers_are_those_of_the_server() -> None:
    checked = subprocess.run(
        [sys.executable, SCRIPT, "--check"], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )

    assert (checked.returncode, checked.stderr) == (0, "")
