"""`wvo-mcp init`: show what would be written, ask, write."""

import json
import os
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import click

from wvo_mcp.domain.rules import stated_by
from wvo_mcp.execution.identity import check_not_below_warden
from wvo_mcp.execution.installation.changes import Plan
from wvo_mcp.execution.installation.plan import Places, Wishes, codex_home, plan, removal
from wvo_mcp.execution.trust import ROADMAP, Trust
from wvo_mcp.faces.cli.output import command, print_json, visible
from wvo_mcp.faces.cli.session import Compose, settings_or_usage

CLIENTS = {
    "claude": "Also wire in Claude Code: allow rule, approval of the server, stop hook, a hook that judges commands by the"
    " policy, a section of CLAUDE.md.",
    "codex": "Also wire in Codex (.codex/config.toml, which it reads once you trust the project), a section of AGENTS.md.",
    "gemini": "Also wire in Gemini CLI (.gemini/settings.json), a section of GEMINI.md.",
}
FLAGS = CLIENTS | {
    "global": "With --codex: $CODEX_HOME/config.toml instead, for all folders.",
    "remove": "Undo init. Lines that you changed stay, and so does state/ once it has tasks.",
    "replace": "Replace an entry named wvo that starts another program.",
    "dry-run": "Show the changes as a diff; write nothing.",
    "yes": "No confirmation before existing files are changed.",
}
COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def init_command(_compose: Compose) -> click.Command:
    return command(
        "init",
        _init,
        "Set up this project for coding agents: .mcp.json, state/ with a sample roadmap and providers, directives/, and"
        " on request the clients' settings. Your own lines are never changed. Running it again changes nothing; --remove"
        " undoes it.",
        [click.Option([f"--{name}"], is_flag=True, help=text) for name, text in FLAGS.items()],
        short="Set up this project for coding agents.",
    )


def _init(given: dict[str, Any], as_json: bool) -> None:
    check_not_below_warden("init")
    settings = settings_or_usage()
    places = Places(settings.root, settings.state_dir, codex_home(os.environ))
    interactive = not as_json and sys.stdin.isatty()
    planned, written = _planned(places, given, interactive), not given["dry_run"]
    trust = Trust(os.environ, settings.root)
    if not as_json:
        _carry_out(places.root, planned, given, interactive, trust)
        return
    if written:
        planned.apply()
        _accept(planned, trust)
    changes = [
        {"path": str(one.path), "new": one.before is None, "reasons": list(one.reasons), "diff": one.diff()}
        for one in planned.changes
    ]
    print_json({"root": str(places.root), "written": written, "changes": changes, "notes": planned.notes})


def _planned(places: Places, given: dict[str, Any], interactive: bool) -> Plan:
    """The plan; on a terminal a person decides about entries of other programs. Raises Conflict elsewhere."""
    clients = {name: given[name] for name in CLIENTS}
    if given["remove"]:
        if any(clients.values()) or given["replace"]:
            raise click.UsageError("--remove undoes everything; it goes with --global, --dry-run, --yes and --json.")
        return removal(places, user_wide=given["global"])
    if given["global"] and not given["codex"]:
        raise click.UsageError("--global goes with --codex.")
    wishes = Wishes(**clients, user_wide=given["global"], replace=given["replace"])
    planned = plan(places, wishes)
    if planned.foreign and interactive and not given["dry_run"]:
        for shown, entry in planned.foreign.items():
            click.echo(f"{visible(shown)} has an entry 'wvo' that starts something else:")
            click.echo("  " + visible(json.dumps(entry, ensure_ascii=False)))
        if click.confirm("Take its place?"):
            return plan(places, replace(wishes, replace=True))
    planned.check()
    return planned


def _accept(planned: Plan, trust: Trust) -> None:
    """What a person has seen and had written is accepted; what else they accepted of the roadmap stays so."""
    if planned.accepts:
        project = stated_by(planned.accepts, {}, {})
        trust.accept(ROADMAP, {**project, **trust.accepted(ROADMAP), "project": project["project"]})


def _carry_out(root: Path, planned: Plan, given: dict[str, Any], interactive: bool, trust: Trust) -> None:
    old = [change for change in planned.changes if change.before is not None]
    asked = (old or planned.accepts) and interactive and not given["yes"]
    for change in planned.changes if given["dry_run"] else old:
        if change.after is None:
            if given["dry_run"] or asked:
                click.secho(f"remove {visible(change.file.shown)}: {'; '.join(change.reasons)}", fg="red")
            continue
        for line in change.diff().splitlines():
            click.secho(visible(line), fg=None if line.startswith(("+++", "---")) else COLOURS.get(line[:1]))
    counts = Counter(change.verb for change in planned.changes)
    what = " and ".join(f"{verb} {counts[verb]} files" for verb in ("change", "create", "remove") if counts[verb])
    if given["dry_run"]:
        click.echo(f"This would {what} in {root}." if what else "Nothing to do.")
    elif planned.changes:
        if planned.accepts:
            click.echo("project: in the roadmap, for the worktrees of workers, as found in this project:")
        for name, value in planned.accepts.items():
            shown = " && ".join(cast("tuple[str, ...]", value)) if isinstance(value, tuple) else value
            click.echo(f"  {name:<8}{visible(str(shown))}")
        if asked and not click.confirm(f"{what.capitalize()} as shown?"):
            click.echo("Nothing was written.")
            raise click.exceptions.Exit(1)
        planned.apply()
        _accept(planned, trust)
        for change in planned.changes:
            click.secho(f"{change.verb}d ", fg="green", nl=False)
            click.echo(f"{visible(change.file.shown)}: {'; '.join(change.reasons)}")
    else:
        click.echo(f"Nothing of init is left in {root}." if given["remove"] else f"Everything is in place in {root}.")
    for note in planned.notes:
        click.secho(visible(note), fg="yellow")
    if given["remove"]:
        return
    for name, text in CLIENTS.items():
        if not given[name]:
            click.echo(f"--{name:<8} {text}")
    click.echo(
        "Next: edit state/roadmap.yaml and state/providers.yaml, then start your agent here, or wvo-mcp autopilot;"
        " wvo-mcp doctor checks the installation."
    )
