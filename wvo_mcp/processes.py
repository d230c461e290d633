"""Facts about processes."""

import os
import subprocess
from pathlib import Path


def parent_started_at() -> str:
    """When the parent process started, as an opaque mark: with its id it names one process for good. `0` if unknown."""
    parent = os.getppid()
    try:
        # The 22nd field; the second one, a name in parentheses, may contain spaces.
        return Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        pass
    try:
        shown = subprocess.run(  # noqa: S603 - fixed program and arguments
            ["ps", "-o", "lstart=", "-p", str(parent)],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=2,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return "0"
    return "".join(char for char in shown.stdout if char.isalnum()) or "0"
