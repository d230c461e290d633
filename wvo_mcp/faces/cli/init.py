"""`wvo-mcp init`: show what would be written, ask, write."""

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any, cast

import click

from wvo_mcp.domain.rules import stated_by
from wvo_mcp.execution.identity import check_not_below_warden
from wvo_mcp.execution.installation.changes import Plan
from wvo_mcp.execution.installation.plan import Places, Wishes, codex_home, plan, removal
from wvo_mcp.execution.trust import ROADMAP, Trust
from wvo_mcp.faces.cli.output import command, print_json, say, visible
from wvo_mcp.faces.cli.session import Compose, settings_or_usage
from wvo_mcp.settings import Settings

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
VERBS = {"change": "yellow", "create": "green", "remove": "red"}


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
    planned, trust = _planned(settings, given), Trust(os.environ, settings.root)
    if not as_json:
        _show(planned, whole=given["dry_run"])
        _ask(planned, given)
    if not given["dry_run"]:
        planned.apply()
        _accept(planned, trust)
    if as_json:
        changes = [
            {"path": str(one.path), "new": one.before is None, "reasons": list(one.reasons), "diff": one.diff()}
            for one in planned.changes
        ]
        written = not given["dry_run"]
        print_json({"root": str(settings.root), "written": written, "changes": changes, "notes": planned.notes})
    else:
        _say_what_is_next(planned, given, settings.root)


def _planned(settings: Settings, given: dict[str, Any]) -> Plan:
    places = Places(settings.root, settings.state_dir, codex_home(os.environ))
    clients = {name: given[name] for name in CLIENTS}
    if given["remove"]:
        if any(clients.values()) or given["replace"]:
            raise click.UsageError("--remove undoes everything; it goes with --global, --dry-run, --yes and --json.")
        return removal(places, user_wide=given["global"])
    if given["global"] and not given["codex"]:
        raise click.UsageError("--global goes with --codex.")
    return plan(places, Wishes(**clients, user_wide=given["global"], replace=given["replace"]))


def _accept(planned: Plan, trust: Trust) -> None:
    """What a person has seen and had written is accepted; what else they accepted of the roadmap stays so."""
    if planned.accepts:
        project = stated_by(planned.accepts, {}, {})
        trust.accept(ROADMAP, {**project, **trust.accepted(ROADMAP), "project": project["project"]})


def _show(planned: Plan, *, whole: bool) -> None:
    """Each file with what is done to it; the differences of files that are there, with `whole` of all."""
    for change in planned.changes:
        click.secho(change.verb, fg=VERBS[change.verb], nl=False)
        why = "" if change.after is None else f": {'; '.join(change.reasons)}"
        say(f" {change.file.shown}{why}", indent=len(change.verb) + 1, beside=len(change.verb))
        if whole or change.verb == "change":
            for line in change.diff().splitlines()[2:]:
                click.secho(f"  {visible(line)}", fg=COLOURS.get(line[:1]))
    if planned.accepts:
        click.echo("project: in the roadmap, for the worktrees of workers, as found in this project:")
    for name, value in planned.accepts.items():
        shown = " && ".join(cast("tuple[str, ...]", value)) if isinstance(value, tuple) else value
        click.echo(f"  {name:<8}{visible(str(shown))}")


def _ask(planned: Plan, given: dict[str, Any]) -> None:
    """Before files that are there change, or something is accepted. Raises Exit for a no."""
    matters = planned.accepts or any(change.before is not None for change in planned.changes)
    if given["yes"] or given["dry_run"] or not matters or not sys.stdin.isatty():
        return
    if not click.confirm(f"{_counted(planned).capitalize()}, as shown?"):
        click.echo("Nothing was written.")
        raise click.exceptions.Exit(1)


def _counted(planned: Plan, end: str = "") -> str:
    counts = Counter(change.verb for change in planned.changes)
    files = {verb: f"{count} file{'s' * (count != 1)}" for verb, count in counts.items()}
    return " and ".join(f"{verb}{end} {files[verb]}" for verb in VERBS if verb in files)


def _say_what_is_next(planned: Plan, given: dict[str, Any], root: Path) -> None:
    if not planned.changes:
        say(f"Nothing of init is left in {root}." if given["remove"] else f"Everything is in place in {root}.")
    elif given["dry_run"]:
        say(f"This would {_counted(planned)} in {root}.")
    else:
        say(f"{_counted(planned, 'd').capitalize()} in {root}.")
    for note in planned.notes:
        say(note, fg="yellow")
    if given["remove"]:
        return
    for name, text in CLIENTS.items():
        if not given[name]:
            say(f"--{name:<8} {text}", indent=11)
    say("Next: edit state/roadmap.yaml, run wvo-mcp doctor, then start your agent here, or wvo-mcp autopilot.")
