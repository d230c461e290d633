"""The server's entry in Codex's config.toml, edited as text so that comments and order stay."""

import re
import tomllib
from typing import Any, cast

from wvo_mcp.errors import InvalidInput
from wvo_mcp.execution.installation.entry import SERVER

SECTION = f'[mcp_servers.{SERVER}]\ncommand = "wvo-mcp"\n'
_OUR_TABLE = re.compile(
    rf"""^\s*\[\s*mcp_servers\s*\.\s*(?:"{SERVER}"|'{SERVER}'|{SERVER})\s*(?:\..*)?\]\s*(?:\#.*)?$"""
)
_ANY_TABLE = re.compile(r"^\s*\[")
_NOTHING = re.compile(r"^\s*(?:#.*)?$")


def entry_of(text: str, name: str) -> dict[str, Any] | None:
    """The entry of our server, or None. Raises InvalidInput for a file that is no TOML."""
    servers = _parse(text, name).get("mcp_servers", {})
    if not isinstance(servers, dict):
        raise _wrong(name, "mcp_servers: a table is expected")
    entry = cast("dict[str, Any]", servers).get(SERVER)
    if entry is not None and not isinstance(entry, dict):
        raise _wrong(name, f"mcp_servers.{SERVER}: a table is expected")
    return cast("dict[str, Any] | None", entry)


def with_entry(text: str, name: str) -> str:
    """The text with our entry, in the place of an older one or at the end; nothing else differs.

    Raises InvalidInput when the file is written in a way that cannot be edited line by line.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    section = SECTION.replace("\n", newline)
    lines = text.splitlines(keepends=True)
    kept, place = _without_ours(lines)
    if place is None:
        gap = "" if not text.strip() else newline if text.endswith("\n") else newline * 2
        after = text + gap + section
    else:
        follows = newline if kept[place:] and kept[place].strip() else ""
        after = "".join(kept[:place]) + section + follows + "".join(kept[place:])
    wanted = _parse(text, name)
    wanted["mcp_servers"] = {**wanted.get("mcp_servers", {}), SERVER: {"command": "wvo-mcp"}}
    _same(after, wanted, name, f"add {SERVER} = {{command = 'wvo-mcp'}} by hand")
    return after


def without_entry(text: str, name: str) -> str:
    """The text without our entry; nothing else differs. Raises InvalidInput as `with_entry`."""
    kept, place = _without_ours(text.splitlines(keepends=True))
    if place is not None and place == len(kept) and kept and not kept[-1].strip():
        kept.pop()  # the empty line that `with_entry` put before it
    after = "".join(kept)
    wanted = _parse(text, name)
    wanted["mcp_servers"] = {key: one for key, one in wanted.get("mcp_servers", {}).items() if key != SERVER}
    _same(after, wanted, name, f"remove {SERVER} by hand")
    return after


def _without_ours(lines: list[str]) -> tuple[list[str], int | None]:
    """The lines without our tables, and where the first of them stood. Comments before the next table stay."""
    kept: list[str] = []
    place: int | None = None
    at = 0
    while at < len(lines):
        if not _is_ours(lines[at]):
            kept.append(lines[at])
            at += 1
            continue
        place = len(kept) if place is None else place
        end = at + 1
        while end < len(lines) and not _ANY_TABLE.match(lines[end]):
            end += 1
        ours_follows = end < len(lines) and _is_ours(lines[end])
        while end > at + 1 and end < len(lines) and not ours_follows and _NOTHING.match(lines[end - 1].rstrip("\r\n")):
            end -= 1
        at = end
    return kept, place


def _same(after: str, wanted: dict[str, Any], name: str, by_hand: str) -> None:
    """Raises InvalidInput when the text does not mean what is wanted."""
    try:
        found = tomllib.loads(after.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError:
        found = None
    if found is None or {"mcp_servers": {}, **found} != {"mcp_servers": {}, **wanted}:
        raise _wrong(name, f"mcp_servers is not written as tables; {by_hand}")


def _is_ours(line: str) -> bool:
    return _OUR_TABLE.match(line.rstrip("\r\n")) is not None


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        raise _wrong(name, f"no TOML: {error}") from None


def _wrong(name: str, problem: str) -> InvalidInput:
    error = InvalidInput(name, problem, message=f"{name}: {problem}. Nothing was written.")
    error.hint = "Mend the file (or move it away), then run wvo-mcp init again."
    return error
