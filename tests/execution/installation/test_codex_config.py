"""Codex's config.toml keeps everything but our entry."""

import tomllib

import pytest

from wvo_mcp.errors import InvalidInput
from wvo_mcp.execution.installation.codex import SECTION, entry_of, with_entry

MINE = '# my settings\nmodel = "gpt-5"  # the good one\n\n[mcp_servers.other]\ncommand = "x"\n'
OURS_OF_OLD = '[mcp_servers.wvo]  # ours?\ncommand = "else"\n\n[mcp_servers.wvo.env]\nA = "1"\n'
TUI = '\n# about tui\n[tui]\ntheme = "x"\n'


def test_the_entry_is_added_at_the_end_and_the_rest_stays() -> None:
    assert with_entry(MINE, "config.toml") == MINE + "\n" + SECTION


def test_an_empty_file_holds_the_entry_only() -> None:
    assert with_entry("", "config.toml") == SECTION


def test_a_last_line_without_an_end_is_ended_first() -> None:
    assert with_entry('model = "m"', "config.toml") == 'model = "m"\n\n' + SECTION


def test_line_ends_are_kept() -> None:
    after = with_entry(MINE.replace("\n", "\r\n"), "config.toml")
    assert after == (MINE + "\n" + SECTION).replace("\n", "\r\n")


def test_another_entry_of_that_name_is_replaced_in_place_with_its_subtables() -> None:
    after = with_entry(OURS_OF_OLD + TUI, "config.toml")

    assert after == SECTION + TUI


def test_the_entry_is_found_however_its_name_is_written() -> None:
    assert entry_of('[mcp_servers."wvo"]\ncommand = "c"\n', "f") == {"command": "c"}
    assert entry_of('mcp_servers.wvo.command = "c"\n', "f") == {"command": "c"}
    assert entry_of(MINE, "f") is None


@pytest.mark.parametrize(
    "text",
    [
        'mcp_servers = { other = { command = "x" } }\n',
        'mcp_servers.wvo.command = "else"\n',
        '[mcp_servers]\nwvo = { command = "else" }\n',
        '[mcp_servers.wvo]\ncommand = """\n[tricky]\n"""\n',
    ],
)
def test_what_cannot_be_edited_line_by_line_is_refused_instead_of_damaged(text: str) -> None:
    tomllib.loads(text)
    with pytest.raises(InvalidInput, match="by hand"):
        with_entry(text, "config.toml")


@pytest.mark.parametrize("text", ["model = ", "[a\n", "mcp_servers = 5\n", "mcp_servers.wvo = 5\n"])
def test_what_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        entry_of(text, "config.toml")
    assert refused.value.details["field"] == "config.toml"
