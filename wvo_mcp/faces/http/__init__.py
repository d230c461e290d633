"""The HTTP face: the registry as an API, `/health` and `/metrics`, for this machine alone."""

from wvo_mcp.faces.http.api import principal_of, routes
from wvo_mcp.faces.http.running import listen, run
from wvo_mcp.faces.http.site import build_site

__all__ = ["build_site", "listen", "principal_of", "routes", "run"]
