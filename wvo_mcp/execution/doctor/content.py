"""What people write: the roadmap and the directives."""

from collections.abc import Callable, Iterable
from pathlib import Path

from wvo_mcp.domain.finding import Finding, fail, ok, warn
from wvo_mcp.errors import NotFound, WvoError
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap.file import read_roadmap


def roadmap(path: Path, known_ids: Callable[[Iterable[str]], set[str]]) -> Finding:
    """The file parses and its references lead somewhere; `known_ids` finds the ids that the store has."""
    try:
        parsed = read_roadmap(path, known_ids)
    except NotFound:
        return warn(
            "roadmap", f"there is no {path}", "Run wvo-mcp init for a sample, or write one; tasks can also be added."
        )
    except WvoError as error:
        return fail("roadmap", error.message, error.hint)
    if parsed.warnings:
        first, *others = parsed.warnings
        more = f" (and {len(others)} more)" if others else ""
        return warn("roadmap", f"{path}, {first}{more}", "Correct it if that is not what you meant.")
    if not parsed.tasks:
        return warn(
            "roadmap", f"no tasks in {path}", "Write one, or restore the file; wvo-mcp alerts shows what waits for it."
        )
    return ok("roadmap", f"{len(parsed.tasks)} tasks in {path}")


def directives(root: Path) -> Finding:
    files = DirectiveFiles(root)
    names = files.names()
    for name in names:
        try:
            files.read(name)
        except WvoError as error:
            return fail("directives", f"{name}: {error.message}", "Fix or remove that file.")
    if not (root / "directives").is_dir():
        return warn(
            "directives", f"{root} has no directives of its own", "Run wvo-mcp init; until then the packaged ones hold."
        )
    return ok("directives", ", ".join(names) or "none")
