"""`wvo-mcp init`: show what would be written, ask, write."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from wvo_mcp.execution.installation.draft import Change, apply
from wvo_mcp.execution.installation.plan import Places, Plan, Wishes, codex_home, plan, removal
from wvo_mcp.faces.cli.application import Compose
from wvo_mcp.faces.cli.output import json_option, print_json, reported, visible, wants_json
from wvo_mcp.faces.cli.session import settings_or_usage

OFFERS = {
    "claude": "--claude    Claude Code: allow rule for our tools, stop hook, a section of CLAUDE.md",
    "codex": "--codex     Codex: the server in .codex/config.toml, a section of AGENTS.md",
    "gemini": "--gemini    Gemini CLI: the server in .gemini/settings.json, a section of GEMINI.md",
}


def init_command(_compose: Compose) -> click.Command:
    flags = [
        (
            "--claude",
            "Also wire in Claude Code: allow rule, approval of the server, stop hook, a section of CLAUDE.md.",
        ),
        (
            "--codex",
            "Also wire in Codex (.codex/config.toml, which it reads once you trust the project), with a section of AGENTS.md.",
        ),
        ("--gemini", "Also wire in Gemini CLI (.gemini/settings.json), with a section of GEMINI.md."),
        ("--global", "With --codex: $CODEX_HOME/config.toml instead, for all folders."),
        ("--remove", "Undo init. Lines that you changed stay, and so does state/ once it has tasks."),
        ("--replace", "Replace an entry named wvo that starts another program."),
        ("--dry-run", "Show the changes as a diff; write nothing."),
        ("--yes", "No confirmation before existing files are changed."),
    ]
    return click.Command(
        "init",
        help="Set up this project for coding agents: .mcp.json, state/ with a sample roadmap and providers, directives/, and"
        " on request the clients' settings. Your own lines are never changed. Running it again changes nothing; --remove"
        " undoes it.",
        short_help="Set up this project for coding agents.",
        params=[*(click.Option([name], is_flag=True, help=text) for name, text in flags), json_option()],
        callback=_init,
    )


def _init(**given: Any) -> None:
    with reported(as_json=wants_json(given["json"])) as as_json:
        settings = settings_or_usage()
        places = Places(settings.root, settings.state_dir, codex_home(os.environ))
        talks = not as_json and sys.stdin.isatty()
        planned = _planned(places, given, talks)
        if as_json:
            if not given["dry_run"]:
                apply(planned.changes)
            print_json(_summary(places.root, planned, written=not given["dry_run"]))
            return
        _carry_out(places.root, planned, given, talks)


def _planned(places: Places, given: dict[str, Any], talks: bool) -> Plan:
    """The plan; on a terminal a person decides about entries of other programs. Raises Conflict elsewhere."""
    clients = {name: given[name] for name in ("claude", "codex", "gemini")}
    if given["remove"]:
        if any(clients.values()) or given["replace"]:
            raise click.UsageError(
                "--remove takes back everything; it goes with --global, --dry-run, --yes and --json."
            )
        return removal(places, user_wide=given["global"])
    if given["global"] and not given["codex"]:
        raise click.UsageError("--global goes with --codex.")
    wishes = Wishes(**clients, user_wide=given["global"], replace=given["replace"])
    planned = plan(places, wishes)
    if planned.foreign and talks and not given["dry_run"]:
        for found in planned.foreign:
            click.echo(f"{visible(found.shown)} has an entry 'wvo' that starts something else:")
            click.echo("  " + visible(json.dumps(found.entry, ensure_ascii=False)))
        if click.confirm("Take its place?"):
            return plan(places, replace(wishes, replace=True))
    planned.check()
    return planned


def _carry_out(root: Path, planned: Plan, given: dict[str, Any], talks: bool) -> None:
    new = [change for change in planned.changes if change.is_new]
    gone = [change for change in planned.changes if change.after is None]
    changed = [change for change in planned.changes if not change.is_new and change.after is not None]
    for change in planned.changes if given["dry_run"] else changed + gone:
        if change.after is None:
            click.secho(f"remove {visible(change.shown)}: {'; '.join(change.reasons)}", fg="red")
        else:
            _print_diff(change)
    counts = [
        f"{what} {len(some)} files" for what, some in (("change", changed), ("make", new), ("remove", gone)) if some
    ]
    what = " and ".join(counts)
    if given["dry_run"]:
        click.echo(f"This would {what} in {root}." if what else "Nothing to do.")
    elif planned.changes:
        ask = bool(changed or gone) and talks and not given["yes"]
        if ask and not click.confirm(f"{what.capitalize()} as shown?"):
            click.echo("Nothing was written.")
            raise click.exceptions.Exit(1)
        apply(planned.changes)
        for change in planned.changes:
            click.secho(
                "created " if change.is_new else "removed " if change in gone else "changed ", fg="green", nl=False
            )
            click.echo(f"{visible(change.shown)}: {'; '.join(change.reasons)}")
    else:
        click.echo(f"Nothing of init is left in {root}." if given["remove"] else f"Everything is in place in {root}.")
    for note in planned.notes:
        click.secho(visible(note), fg="yellow")
    if not given["remove"]:
        _print_offers(given)


def _print_diff(change: Change) -> None:
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in change.diff().splitlines():
        click.secho(visible(line), fg=None if line.startswith(("+++", "---")) else colours.get(line[:1]))


def _print_offers(given: dict[str, Any]) -> None:
    offers = [text for name, text in OFFERS.items() if not given[name]]
    if offers:
        click.echo("On request also:")
        for text in offers:
            click.echo(f"  {text}")
    click.echo(
        "Next: edit state/roadmap.yaml and state/providers.yaml, then start your agent here; wvo-mcp doctor checks"
        " the installation."
    )


def _summary(root: Path, planned: Plan, *, written: bool) -> dict[str, Any]:
    return {
        "root": str(root),
        "written": written,
        "changes": [
            {"path": str(change.path), "new": change.is_new, "reasons": list(change.reasons), "diff": change.diff()}
            for change in planned.changes
        ],
        "notes": planned.notes,
    }
