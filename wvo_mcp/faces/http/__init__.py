"""The HTTP face: the registry as an API, `/health` and `/metrics`."""

from wvo_mcp.faces.http.api import routes
from wvo_mcp.faces.http.guard import is_loopback
from wvo_mcp.faces.http.running import address_of, listen, run
from wvo_mcp.faces.http.site import build_site

__all__ = ["address_of", "build_site", "is_loopback", "listen", "routes", "run"]
