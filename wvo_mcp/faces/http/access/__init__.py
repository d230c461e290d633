"""Who asks: found once for each request, before anything else looks at it."""

from wvo_mcp.faces.http.access.csrf import Csrf, form_of
from wvo_mcp.faces.http.access.keys import Keys
from wvo_mcp.faces.http.access.login import access_routes
from wvo_mcp.faces.http.access.middleware import Access

__all__ = ["Access", "Csrf", "Keys", "access_routes", "form_of"]
