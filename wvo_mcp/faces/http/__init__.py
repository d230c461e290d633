"""The HTTP face: pages, their stream and controls, the registry as an API, `/mcp`, `/health` and `/metrics`."""

from wvo_mcp.faces.http.api import principal_of, routes
from wvo_mcp.faces.http.guard import is_loopback
from wvo_mcp.faces.http.projects import build_projects
from wvo_mcp.faces.http.running import address_of, listen, run, run_within
from wvo_mcp.faces.http.site import build_site

__all__ = [
    "address_of",
    "build_projects",
    "build_site",
    "is_loopback",
    "listen",
    "principal_of",
    "routes",
    "run",
    "run_within",
]
