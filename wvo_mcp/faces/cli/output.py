"""What a command prints: JSON for programs, text for people; errors, and how far long work is."""

import json
import logging
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from textwrap import TextWrapper
from typing import TYPE_CHECKING, Any, cast

import click

from wvo_mcp.domain.redaction import redact, redacted
from wvo_mcp.errors import Internal, WvoError

if TYPE_CHECKING:
    from wvo_mcp.orchestration.jobs import OnProgress

_log = logging.getLogger("wvo_mcp.cli")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


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
        with reported(as_json=json or not sys.stdout.isatty()) as as_json:
            run(given, as_json)

    short = short or text.partition(". ")[0].rstrip(".") + "."
    as_json = click.Option(["--json"], is_flag=True, help="JSON output; the default when stdout is not a terminal.")
    return click.Command(name, help=text, short_help=short, params=[*params, as_json], callback=callback)


def print_json(value: Mapping[str, Any]) -> None:
    """One document: indented on a terminal, one line elsewhere."""
    if sys.stdout.isatty():
        text = json.dumps(value, indent=2, ensure_ascii=False)
        click.echo(_CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", text))
    else:
        print_line(value)


def print_result(name: str, result: dict[str, Any], *, as_json: bool) -> None:
    """As the screen `name` has it (`views/screens.toml`), or as JSON."""
    if as_json:
        print_json(result)
        return
    from wvo_mcp.faces.cli.views import show  # rich costs a tenth of a second and serves terminals only

    show(name, result)


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
    say(redact(error.message), indent=2, beside=len(error.code) + 2, err=True)
    # What the message does not say already.
    details = redacted(error.details)
    further = cast("list[dict[str, str]]", details.get("problems") or [])[1:]
    lines = [f"{problem['field']}: {problem['problem']}" for problem in further]
    lines += [json.dumps(details["entry"], ensure_ascii=False)] if details.get("entry") is not None else []
    lines += [f"reference {details['ref']}"] if details.get("ref") else []
    for line in lines:
        click.echo(f"  {visible(line)}", err=True)
    say(f"  {for_people(error.hint)}", indent=2, err=True, dim=True)


def say(text: str, *, indent: int = 0, beside: int = 0, **style: Any) -> None:
    """A sentence for people, its lines as long as their terminal; words such as paths stay whole. `indent` is that of all
    lines but the first, which stands `beside` so many characters."""
    lines = TextWrapper(shutil.get_terminal_size().columns, break_long_words=False, break_on_hyphens=False)
    lines.initial_indent, lines.subsequent_indent = " " * beside, " " * indent
    click.secho(lines.fill(visible(text))[beside:], **style)


def visible(text: str) -> str:
    """What errors quote must not steer the terminal: control characters become dots."""
    return _CONTROL.sub("\u00b7", text)


def for_people(hint: str) -> str:
    """The hint with every tool as its command and every field as its flag: `claim_task` is `wvo-mcp claim-task`."""
    from wvo_mcp.operations import ALL  # late: only an error on a terminal needs the registry

    fields = {name for op in ALL.values() for name in op.fields}

    def command(found: re.Match[str]) -> str:
        name = found["name"]
        if name in ALL and ("_" in name or found["tool"]):
            return "wvo-mcp " + name.replace("_", "-")
        return "--" + name.replace("_", "-") if name in fields and "_" in name else found[0]

    return re.sub(r"(?P<tool>\b[Tt]he tool )?\b(?P<name>[a-z]+(?:_[a-z]+)*)\b", command, hint)


@contextmanager
def shown(what: str) -> "Generator[OnProgress | None]":
    """A bar on stderr while it lasts, for people; None elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    # rich costs a tenth of a second and serves terminals only
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=1.0)

        async def report(done: float, note: str) -> None:
            bar.update(task, completed=done, description=note or what)

        yield report
