"""What a server and a command load, and what they do not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

UNUSED = {
    "rich",
    "psycopg",
    "prometheus_client",
    "wvo_mcp.faces.http",
}
"""Of no use to a server on stdio."""
OF_SERVERS = {"mcp", "mcp_types", "starlette", "uvicorn", "httpx2", "opentelemetry", "jsonschema", "wvo_mcp.faces.mcp"}
"""Of no use to a command either."""


TELLING = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
from wvo_mcp.__main__ import main
sys.exit(main())
"""


def loaded(root: Path, *arguments: str) -> set[str]:
    """The modules that the program has when it ends."""
    ran = subprocess.run(
        [sys.executable, "-c", TELLING, *arguments],
        cwd=root,
        env={**os.environ, "ROOT": str(root)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return set(ran.stderr.splitlines()[-1].split())


@pytest.mark.requirement("CORE-3")
def test_a_server_asked_only_for_tools_loads_no_sdk_and_no_other_face(tmp_path: Path) -> None:
    names = loaded(tmp_path)

    assert "wvo_mcp.faces.mcp.face" in names
    assert not (UNUSED | {"mcp", "mcp_types"}) & names


@pytest.mark.parametrize(("command", "room"), [("status", "ops"), ("claim-task", "core")])
def test_a_command_loads_nothing_of_servers_and_only_its_own_room(tmp_path: Path, command: str, room: str) -> None:
    names = loaded(tmp_path, command, "--json")

    assert {"wvo_mcp.store.sqlite.store", f"wvo_mcp.operations.{room}"} <= names
    assert not (UNUSED | OF_SERVERS) & names
    assert not {"wvo_mcp.operations.people", "wvo_mcp.operations.plan"} & names
