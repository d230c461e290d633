"""Small disks, which fill up."""

import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.support.hosts import need


@contextmanager
def mounted(folder: Path, options: str) -> Generator[None]:
    """A disk in memory is the folder; `options` as of `mount`, such as `size=6m`."""
    folder.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(
        ("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)), capture_output=True, check=False, timeout=30
    )
    if made.returncode != 0:
        need("mounting a small disk takes root")
    try:
        yield
    finally:
        subprocess.run(("umount", "--lazy", str(folder)), check=True, timeout=30)
