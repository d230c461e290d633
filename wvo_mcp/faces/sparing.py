"""The SDK without what no server here needs of it."""

import importlib
import sys
from types import ModuleType

_SPARED, _NAME = "mcp.server.mcpserver", "MCPServer"
"""The SDK's other kind of server, built upon the one used here. It imports that kind for this one name, and with it
readers of settings, arguments and templates: an eighth of a server's memory, a tenth of its start."""


def import_sdk() -> None:
    """Import the SDK's server with a stand-in for the other kind. Without effect where it is imported already."""
    if "mcp.server" in sys.modules:
        return
    sys.modules[_SPARED] = stand_in = ModuleType(_SPARED)
    setattr(stand_in, _NAME, type(_NAME, (), {}))
    try:
        importlib.import_module("mcp.server")
    except ImportError:  # a version that takes more of it: whoever imports the SDK next gets the whole
        for name in [name for name in sys.modules if name == "mcp" or name.startswith("mcp.")]:
            del sys.modules[name]
    sys.modules.pop(_SPARED, None)
