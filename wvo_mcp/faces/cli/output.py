"""What a command prints: JSON for programs, text for people."""

import json
import logging
import re
import secrets
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import click

from wvo_mcp.domain.redaction import redact, redacted
from wvo_mcp.errors import Internal, WvoError
from wvo_mcp.faces.cli.hints import for_people

_log = logging.getLogger("wvo_mcp.cli")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def json_option() -> click.Option:
    return click.Option(["--json"], is_flag=True, help="JSON output; the default when stdout is not a terminal.")


def command(
    name: str,
    run: Callable[[dict[str, Any], bool], None],
    text: str,
    params: Sequence[click.Parameter],
    *,
    short: str = "",
) -> click.Command:
    """A command that prints JSON or text. `run` gets what was given and whether JSON is wanted; its errors are printed."""

    def callback(json: bool, **given: Any) -> None:
        with reported(as_json=wants_json(json)) as as_json:
            run(given, as_json)

    short = short or text.partition(". ")[0].rstrip(".") + "."
    return click.Command(name, help=text, short_help=short, params=[*params, json_option()], callback=callback)


def wants_json(flag: bool) -> bool:
    """True with --json, and whenever stdout is no terminal."""
    return flag or not sys.stdout.isatty()


def print_json(value: Mapping[str, Any]) -> None:
    """One document: indented on a terminal, one line elsewhere."""
    if sys.stdout.isatty():
        text = json.dumps(value, indent=2, ensure_ascii=False)
        click.echo(_CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", text))
    else:
        print_line(value)


def print_line(value: Mapping[str, Any]) -> None:
    click.echo(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


@contextmanager
def reported(*, as_json: bool) -> Generator[bool]:
    """Errors are printed and end the command with exit code 1; a defect gets a reference that the log has too."""
    try:
        yield as_json
    except WvoError as error:
        print_error(error, as_json=as_json)
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise
    except Exception as error:
        ref = secrets.token_hex(4)
        _log.error("the command met a defect, ref %s", ref, exc_info=error)
        print_error(Internal(ref), as_json=as_json)
    else:
        return
    raise click.exceptions.Exit(1)


def print_error(error: WvoError, *, as_json: bool) -> None:
    """JSON goes to stdout, where the result would have stood; text goes to stderr."""
    if as_json:
        print_json({"error": redacted(error.payload())})
        return
    click.secho(f"{error.code}: ", err=True, fg="red", bold=True, nl=False)
    click.echo(visible(redact(error.message)), err=True)
    for line in _particulars(redacted(error.details)):
        click.echo(f"  {visible(line)}", err=True)
    click.secho(f"  {for_people(error.hint)}", err=True, dim=True)


def visible(text: str) -> str:
    """What errors quote must not steer the terminal: control characters become dots."""
    return _CONTROL.sub("\u00b7", text)


def _particulars(details: Mapping[str, Any]) -> list[str]:
    """What the message does not say already."""
    further = cast("list[dict[str, str]]", details.get("problems") or [])[1:]
    lines = [f"{problem['field']}: {problem['problem']}" for problem in further]
    entry = details.get("entry")
    if entry is not None:
        lines.append(json.dumps(entry, ensure_ascii=False))
    if details.get("ref"):
        lines.append(f"reference {details['ref']}")
    return lines
