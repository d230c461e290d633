"""Writes wvo_mcp/snapshot.json from the server itself; with --check only says whether it is up to date (exit code 1)."""

import json
import sys
import tempfile
from pathlib import Path

import anyio

from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.faces.mcp import snapshot

FILE = Path(snapshot.__file__).parents[2] / "snapshot.json"


def main() -> int:
    with tempfile.TemporaryDirectory() as empty:
        taken = anyio.run(snapshot.take, DirectiveFiles(Path(empty)))
    text = json.dumps(taken, indent=1, sort_keys=False) + "\n"
    if FILE.is_file() and FILE.read_text() == text:
        return 0
    if "--check" in sys.argv[1:]:
        print(f"{FILE.name} differs from the server; run scripts/snapshot", file=sys.stderr)
        return 1
    FILE.write_text(text)
    print(f"{FILE.name}: {len(text):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
