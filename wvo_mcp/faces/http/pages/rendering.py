"""Templates: pages as a whole, and their regions one by one."""

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, Undefined, select_autoescape
from markupsafe import Markup

from wvo_mcp.domain.visible import cut, visible
from wvo_mcp.faces.http.pages.page import Data, Page, Visit

LIVE = "live_"
"""The blocks of a template whose names begin so are regions."""
CSRF, SEEN = (f"@@{name}-{secrets.token_hex(8)}@@" for name in ("csrf", "seen"))
"""They stand for the token of whoever reads, and for the last event that the page knows: a region is rendered once for all of
a role, and is equal while what it shows is. Nobody who writes texts knows them."""
_NOTE = 30
_ROW = re.compile(r"<!--row:([^>]*?)-->(.*?)<!--/row-->", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Region:
    """One part of a page. `rows` are those of its elements that have keys; `frame` is the rest."""

    html: str
    frame: str
    rows: Mapping[str, str]


Picture = dict[str, Region]
"""The regions of a page by name."""


@cache
def environment() -> Environment:
    made = Environment(
        loader=PackageLoader("wvo_mcp.faces.http", "templates"),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "visible": _visible,
        "prose": _prose,
        "short": _short,
        "words": _words,
        "money": _money,
        "count": _count,
        "size": _size,
        "percent": _percent,
        "query": _query,
    }
    made.filters.update(filters)
    shared: dict[str, Any] = made.globals  # pyright: ignore[reportAssignmentType] - its type knows the own ones only
    shared.update(CSRF=CSRF, SEEN=SEEN)
    shared.update(ui=made.get_template("ui.html").module)
    return made


def _text(value: object) -> str:
    return "" if value is None or isinstance(value, Undefined) else str(value)


def _visible(value: object) -> str:
    return visible(_text(value))


def _prose(value: object) -> str:
    return visible(_text(value), lines=True)


def _short(value: object, most: int = 200) -> str:
    """Not cut where the note about what is left out would be as long as that."""
    text = visible(_text(value))
    return text if len(text) <= most + _NOTE else cut(text, most)


def _words(value: object) -> str:
    return _text(value).replace("_", " ")


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _money(value: object) -> str:
    dollars = _number(value)
    return "" if dollars is None else f"${dollars:,.2f}"


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else _text(value)


def _percent(value: object) -> str:
    share = _number(value)
    return "" if share is None else f"{100 * share:.0f} %"


def _size(value: object) -> str:
    """Bytes in the unit that people would choose."""
    size = _number(value)
    if size is None:
        return ""
    for unit in ("B", "KB", "MB"):
        if size < 1_000:
            return f"{size:.0f} {unit}"
        size /= 1_000
    return f"{size:.1f} GB"


def _query(value: Mapping[str, object]) -> str:
    """A query without what is empty."""
    return urlencode({name: one for name, one in value.items() if _text(one)})


def variables(page: Page, visit: Visit, data: Data, root: str) -> dict[str, Any]:
    """What a template sees: `data`, `me` (the visit), `root` (what each link begins with), `here` (its own address below
    that), `query`."""
    here = page.address.format_map({name: quote(text, safe="") for name, text in visit.path.items()})
    if visit.query:
        here += "?" + urlencode(sorted(visit.query.items()))
    return {"data": data, "me": visit, "root": root, "here": here, "query": dict(visit.query), "page": page}


def regions(page: Page, given: Mapping[str, Any]) -> Picture:
    template = environment().get_template(page.template)
    found: Picture = {}
    for name, block in template.blocks.items():
        if name.startswith(LIVE):
            html = "".join(block(template.new_context(dict(given))))
            frame = _ROW.sub(lambda row: f"<!--row:{row[1]}-->", html)
            found[name] = Region(html, frame, dict(_ROW.findall(html)))
    return found


def digest(picture: Picture) -> str:
    """The same for the same picture, and only then."""
    whole = hashlib.sha256()
    for name, region in sorted(picture.items()):
        whole.update(f"{name}\0{region.html}\0".encode(errors="backslashreplace"))
    return whole.hexdigest()[:32]


def difference(before: Picture | None, now: Picture) -> str:
    """What turns one picture into the other, for htmx to swap in: rows where only rows differ, else whole regions. All of it
    where nothing is known of the picture before."""
    parts: list[str] = []
    for name, region in now.items():
        old = None if before is None else before.get(name)
        if old is not None and (old is region or old.html == region.html):
            continue
        if old is not None and old.frame == region.frame:
            changed = [html for key, html in region.rows.items() if old.rows.get(key) != html]
            parts += [_swap(_id_of(html), html) for html in changed]
        else:
            parts.append(_swap(name, region.html))
    return "".join(parts)


_ID = re.compile(r'\bid="([^"]+)"')


def _id_of(row: str) -> str:
    """Each row is one element, whose first attribute `id` is its own."""
    found = _ID.search(row)
    if found is None:
        raise ValueError("a row of a region needs an id")
    return found[1]


def _swap(element: str, html: str) -> str:
    selector = "#" + "".join(char if char.isalnum() or char in "_-" else f"\\{char}" for char in element)
    return f'<hx-partial hx-target="{selector}" hx-swap="outerMorph">{html}</hx-partial>'


def personal(html: str, csrf: str | None, seen: int) -> str:
    """What is sent to one reader."""
    return html.replace(CSRF, str(Markup.escape(csrf or ""))).replace(SEEN, str(seen))
