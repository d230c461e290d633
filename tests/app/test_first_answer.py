"""A first answer waits for no import that it does not need."""

import subprocess
import sys

UNNEEDED = (
    "wvo_mcp.app.leading",
    "wvo_mcp.app.commands",
    "wvo_mcp.domain.health",
    "wvo_mcp.domain.providers",
    "wvo_mcp.domain.roadmap",
    "wvo_mcp.execution.git",
    "wvo_mcp.orchestration.health",
    "wvo_mcp.orchestration.plan.roadmap",
    "wvo_mcp.telemetry",
    "httpx2",
    "importlib.metadata",
    "mcp",
    "yaml",
)


def test_a_first_plan_next_imports_nothing_of_leader_providers_or_sdk() -> None:
    program = """
import sys
from wvo_mcp.front.start import skip_plugins
skip_plugins()
import wvo_mcp.app.serving, wvo_mcp.faces.mcp.face, wvo_mcp.store.sqlite.store
from wvo_mcp.operations import named
named("plan_next")
print(*sys.modules)
"""
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert [name for name in loaded if name.startswith(tuple(f"{one}." for one in UNNEEDED)) or name in UNNEEDED] == []
