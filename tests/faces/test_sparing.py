"""What a server and a command load, and what they are spared."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

UNUSED = {
    "mcp.server.mcpserver",
    "pydantic_settings",
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


def test_a_server_loads_the_sdk_without_its_other_kind_of_server(tmp_path: Path) -> None:
    names = loaded(tmp_path)

    assert {"mcp.server.lowlevel.server", "wvo_mcp.faces.mcp.server"} <= names
    assert not UNUSED & names


@pytest.mark.parametrize(("command", "room"), [("status", "ops"), ("claim-task", "core")])
def test_a_command_loads_nothing_of_servers_and_only_its_own_room(tmp_path: Path, command: str, room: str) -> None:
    names = loaded(tmp_path, command, "--json")

    assert {"wvo_mcp.store.sqlite.store", f"wvo_mcp.operations.{room}"} <= names
    assert not (UNUSED | OF_SERVERS) & names
    assert not {"wvo_mcp.operations.people", "wvo_mcp.operations.exchange", "wvo_mcp.operations.plan"} & names


IMPORTING = """
from wvo_mcp.faces import sparing
sparing.import_sdk()
import mcp.server
print(mcp.server.MCPServer.__name__, mcp.server.MCPServer.__module__)
"""


@pytest.mark.parametrize(
    ("taken", "found"),
    [("MCPServer", "MCPServer wvo_mcp.faces.sparing"), ("MCPServer, Tool", "MCPServer mcp.server.mcpserver")],
    ids=["the same", "more"],
)
def test_an_sdk_that_takes_more_of_what_is_spared_gets_it(tmp_path: Path, taken: str, found: str) -> None:
    kind = tmp_path / "mcp" / "server" / "mcpserver"
    kind.mkdir(parents=True)
    (tmp_path / "mcp" / "__init__.py").write_text("from mcp import server\n")
    (tmp_path / "mcp" / "server" / "__init__.py").write_text(f"from .mcpserver import {taken}\n")
    (kind / "__init__.py").write_text("class MCPServer: ...\nclass Tool: ...\n")

    shown = subprocess.run(
        [sys.executable, "-c", IMPORTING],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert shown.stdout.strip() == found
