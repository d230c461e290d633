"""The files that pages load: our own, and vendored ones, which `scripts/vendor` keeps. Nothing is loaded from elsewhere."""

import hashlib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response

from wvo_mcp.faces.http.guard import no_page

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@cache
def _assets() -> dict[str, tuple[bytes, str, str]]:
    """Content, type and digest of each file by its path below this folder; what is not here cannot be asked for."""
    found: dict[str, tuple[bytes, str, str]] = {}

    def collect(folder: Traversable, prefix: str) -> None:
        for entry in folder.iterdir():
            ending = "." + entry.name.rpartition(".")[2]
            if entry.is_dir():
                collect(entry, f"{prefix}{entry.name}/")
            elif ending in _TYPES:
                content = entry.read_bytes()
                found[prefix + entry.name] = (content, _TYPES[ending], hashlib.sha256(content).hexdigest()[:16])

    collect(files(__name__), "")
    return found


def address_of(name: str) -> str:
    """Its path below the root, with a mark of its content, so that browsers may keep it for good."""
    return f"/static/{name}?v={_assets()[name][2]}"


async def asset(request: Request) -> Response:
    """Raises NotFound."""
    name = request.path_params["name"]
    found = _assets().get(name)
    if found is None:
        raise no_page(f"/static/{name}")
    content, kind, mark = found
    headers = {"etag": f'"{mark}"', "content-type": kind}
    current = request.query_params.get("v") == mark
    headers["cache-control"] = "public, max-age=31536000, immutable" if current else "no-cache"
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers)
