"""Our section in a text that people write."""

from pathlib import Path

import pytest

from wvo_mcp.errors import InvalidInput
from wvo_mcp.execution.installation.changes import File, Plan
from wvo_mcp.execution.installation.pieces import Section

HASH = ("# wvo-mcp:start", "# wvo-mcp:end")
OURS = "<!-- wvo-mcp:start -->\nnew\n<!-- wvo-mcp:end -->\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", OURS),
        ("# Mine\n", "# Mine\n\n" + OURS),
        ("# Mine", "# Mine\n\n" + OURS),
        ("a\n<!-- wvo-mcp:start -->\nold\nold\n<!-- wvo-mcp:end -->\nb", "a\n" + OURS + "b"),
        ("a\r\n<!-- wvo-mcp:start -->\r\nold\r\n<!-- wvo-mcp:end -->\r\nb\r\n", "a\n" + OURS + "b\n"),
    ],
)
def test_only_what_is_between_the_marks_changes(before: str, after: str) -> None:
    section = Section(File(Path(), "AGENTS.md", "AGENTS.md"), "", "new\n")
    crlf = "\r\n" in before
    made = section.put(before, Plan())

    assert made == (after.replace("\n", "\r\n") if crlf else after)
    assert section.put(made, Plan()) == made


@pytest.mark.parametrize(
    "text",
    [
        "# wvo-mcp:start\n",
        "# wvo-mcp:end\n",
        "# wvo-mcp:end\n# wvo-mcp:start\n",
        "# wvo-mcp:start\n" * 2 + "# wvo-mcp:end\n",
    ],
)
def test_stray_marks_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        Section(File(Path(), ".gitignore", ".gitignore"), "", "new", HASH).put(text, Plan())
