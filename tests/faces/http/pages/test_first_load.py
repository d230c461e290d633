"""What a browser fetches for the first sight of each page."""

import gzip
import re

import httpx2
import pytest

from tests.orchestration.merging.conftest import Lane, lane
from tests.support.bench import a_task
from tests.support.web import caller_of
from wvo_mcp.execution.agents.logs import WorkerLogFiles
from wvo_mcp.execution.reviews import CommitsOfRoot
from wvo_mcp.faces.http import build_site
from wvo_mcp.faces.http.pages import PAGES
from wvo_mcp.ports.reviews import Commits
from wvo_mcp.ports.workers import WorkerLogs

__all__ = ["lane"]

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("DASH-1", "DASH-4")]

MOST = 100_000
_LOADED = re.compile(r'<(?:script|link|img|iframe|source|div)\b[^>]*?\b(?:src|href|data-layout|data-library)="([^"]+)"')
_LIBRARY = re.compile(r'\bdata-library="([^"]+)"')

OWN = [page.address for page in PAGES if "{" not in page.address] + ["/merge/m-1"]


@pytest.mark.parametrize("address", OWN)
async def test_a_page_is_under_100_kb_in_all_and_loads_nothing_from_elsewhere(lane: Lane, address: str) -> None:
    await lane.submit("T1", {"code.py": "".join(f"line {n}\n" for n in range(600))})
    await lane.bench.create(*(a_task(f"t{n}", title=f"A task of some length, number {n}") for n in range(250)))
    parts_of_server: dict[type | str, object] = {
        Commits: CommitsOfRoot(lane.yard.root, lane.yard.folder),
        WorkerLogs: WorkerLogFiles(lane.yard.root / "logs"),
    }
    site = build_site(lane.bench.services.having(parts_of_server), caller_of)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(site), base_url="http://127.0.0.1") as client:
        answer = await client.get(address)
        named = set(_LOADED.findall(answer.text)) | set(_LIBRARY.findall(answer.text))
        parts = {name: (await client.get(name)).content for name in named}

    assert answer.status_code == 200
    assert len(named) >= 5
    assert [name for name in named if not name.startswith("/static/")] == []
    assert not re.search(rb"@import|url\((?!#)|https?://(?!www\.w3\.org/)[^\s\"')]+\.(?:js|css|woff2?)\b", b"".join(
        content for name, content in parts.items() if "/vendor/" not in name
    ))  # fmt: skip
    sizes = {name: len(gzip.compress(content)) for name, content in parts.items()}
    assert sum(sizes.values()) + len(gzip.compress(answer.content)) < MOST, sizes
