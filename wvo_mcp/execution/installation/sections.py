"""A section of a text file that is ours, between two marks; what stands around it belongs to people."""

from dataclasses import dataclass

from wvo_mcp.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Marks:
    start: str
    end: str


MARKDOWN = Marks("<!-- wvo-mcp:start -->", "<!-- wvo-mcp:end -->")
HASH = Marks("# wvo-mcp:start", "# wvo-mcp:end")


def with_section(text: str, body: str, marks: Marks, name: str) -> str:
    """The text with `body` between the marks: replaced in place, or added at the end. Line ends are the file's own.

    Raises InvalidInput when the marks do not stand once each, in order.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    section = newline.join([marks.start, *body.strip().split("\n"), marks.end])
    lines = text.split("\n")
    place = _place(lines, marks, name)
    if place is None:
        gap = "" if not text.strip() else newline if text.endswith("\n") else newline * 2
        return text + gap + section + newline
    start, end = place
    tail = "\r" if lines[end].endswith("\r") else ""
    return "\n".join([*lines[:start], section + tail, *lines[end + 1 :]])


def without_section(text: str, marks: Marks, name: str) -> str:
    """The text without what stands between the marks, the marks, and the empty line that `with_section` put before them.

    Raises InvalidInput when the marks do not stand once each, in order.
    """
    lines = text.split("\n")
    place = _place(lines, marks, name)
    if place is None:
        return text
    start, end = place
    if start and not lines[start - 1].strip():
        start -= 1
    return "\n".join([*lines[:start], *lines[end + 1 :]])


def _place(lines: list[str], marks: Marks, name: str) -> tuple[int, int] | None:
    """The lines of the two marks; None without them."""
    starts = [i for i, line in enumerate(lines) if line.strip() == marks.start]
    ends = [i for i, line in enumerate(lines) if line.strip() == marks.end]
    if not starts and not ends:
        return None
    if len(starts) != 1 or len(ends) != 1 or ends[0] < starts[0]:
        raise _broken(name, marks)
    return starts[0], ends[0]


def _broken(name: str, marks: Marks) -> InvalidInput:
    problem = f"the marks {marks.start!r} and {marks.end!r} must stand once each, in this order"
    error = InvalidInput(name, problem, message=f"{name}: {problem}. Nothing was written.")
    error.hint = "Remove the stray mark, then run wvo-mcp init again."
    return error
