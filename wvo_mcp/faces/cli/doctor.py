"""`wvo-mcp doctor`: every part of an installation is looked at and explained."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from wvo_mcp.domain.finding import Finding, Outcome, fail, ok, warn
from wvo_mcp.execution import doctor, worker_checks
from wvo_mcp.execution.identity import check_not_below_warden
from wvo_mcp.execution.trust import Trust
from wvo_mcp.execution.workspaces.left_over import left_over
from wvo_mcp.faces.cli.backup import refuse_if_live, restore_and_sync, while_live_option
from wvo_mcp.faces.cli.output import command, print_json, print_result, say, visible
from wvo_mcp.faces.cli.session import Compose, settings_or_usage
from wvo_mcp.operations import tools
from wvo_mcp.ports.backend import Backend
from wvo_mcp.project import Project, WrongSetting
from wvo_mcp.settings import settings_of
from wvo_mcp.store.sqlite.doctor_checks import library

MARKS = {Outcome.OK: ("ok  ", "green"), Outcome.WARN: ("warn", "yellow"), Outcome.FAIL: ("FAIL", "red")}
SNAPSHOT = Path(__file__).parents[2] / "front" / "snapshot.json"


def doctor_command(compose: Compose) -> click.Command:
    def run(given: dict[str, Any], as_json: bool) -> None:
        repaired = _repaired(compose, given["while_live"], as_json=as_json) if given["repair"] else {}
        _examine(compose, repaired, as_json=as_json)

    repair = (
        "Check the whole database first. If it is damaged or missing, restore the newest good backup, keep the damaged file,"
        " and sync the roadmap."
    )
    return command(
        "doctor",
        run,
        "Check this installation: machine, workspace, database, roadmap, providers, clients. Changes nothing without"
        " --repair. Each check shows what it found and how to fix it. Exit code 1 when a check fails.",
        [click.Option(["--repair"], is_flag=True, help=repair), while_live_option()],
        short="Check this installation and show how to fix problems.",
    )


def _repaired(compose: Compose, even_so: bool, *, as_json: bool) -> dict[str, Any]:
    check_not_below_warden("doctor --repair")
    application, settings = compose(), settings_or_usage()
    found = application.backend_of(settings).damage()
    if found is None:
        if not as_json:
            click.echo("The database is sound: there is nothing to repair.")
        return {"repair": None}
    refuse_if_live(application, settings, even_so)
    result = restore_and_sync(application, settings, None)
    if not as_json:
        click.echo(visible(found.message))
        print_result("backup_restore", result, as_json=False)
    return {"repair": {"found": found.message, **result}}


def _examine(compose: Compose, repaired: dict[str, Any], *, as_json: bool) -> None:
    findings: list[Finding] = []
    for found in _checks(compose):
        findings += found
        if not as_json:
            for finding in found:
                mark, colour = MARKS[finding.outcome]
                click.secho(mark, fg=colour, bold=finding.outcome is Outcome.FAIL, nl=False)
                say(f"  {finding.check:<16}{finding.found}", indent=22, beside=len(mark))
                if finding.remedy:
                    say(f"{'':22}{finding.remedy}", indent=22)
    failed = [finding for finding in findings if finding.outcome is Outcome.FAIL]
    if as_json:
        print_json({"ok": not failed, **repaired, "checks": [asdict(finding) for finding in findings]})
    else:
        warned = sum(finding.outcome is Outcome.WARN for finding in findings)
        warnings = f"{warned} warning{'s' * (warned != 1)}"
        failures = f"{len(failed)} of {len(findings)} checks failed" if failed else "Nothing failed"
        click.echo(f"{failures}, {warnings}." if failed or warned else "Everything works.")
    if failed:
        raise click.exceptions.Exit(1)


def _checks(compose: Compose) -> Iterator[list[Finding]]:
    """The findings, check by check, so that a person sees them come."""
    project, settings = _settings()
    root, state_dir = Path(project.root), Path(project.state_dir)
    worktrees = root / (project.environ.get("WVO_WORKTREES_DIR") or state_dir / "worktrees")

    def backend() -> Backend:
        return compose().backend_at(project.environ.get("WVO_DATABASE_URL") or None, state_dir)

    def known(ids: Iterable[str]) -> set[str]:
        try:
            return backend().known_ids(ids)
        except WrongSetting:
            return set(ids)  # reported for the database already

    table: list[tuple[str, Callable[[], list[Finding]]]] = [
        ("python", lambda: [doctor.python(), library()]),
        ("workspace", lambda: [doctor.workspace(root, project.reason), *settings]),
        ("state folder", lambda: [doctor.state_folder(state_dir)]),
        ("disk", lambda: [doctor.disk(state_dir), doctor.file_system(state_dir)]),
        ("database", lambda: backend().doctor_checks(datetime.now(UTC))),
        ("roadmap", lambda: [doctor.roadmap(state_dir / "roadmap.yaml", known)]),
        ("providers", lambda: doctor.providers(state_dir / "providers.yaml", os.environ, Trust(os.environ, root))),
        ("git", lambda: [worker_checks.git(root, os.environ), worker_checks.worktrees(worktrees)]),
        ("left over", lambda: left_over(root, worktrees, known)),
        ("rules", lambda: worker_checks.rules(state_dir / "roadmap.yaml", Trust(os.environ, root))),
        ("policy", lambda: [worker_checks.policy(state_dir / "policy.yaml", Trust(os.environ, root))]),
        (
            "workers",
            lambda: [
                worker_checks.limits(),
                *worker_checks.programs(state_dir / "providers.yaml", os.environ, state_dir / "workers" / "logins"),
            ],
        ),
        ("sandbox", lambda: worker_checks.sandbox(os.environ, state_dir)),
        ("directives", lambda: [doctor.directives(root), _snapshot()]),
        ("clients", lambda: doctor.clients(project)),
    ]
    for name, check in table:
        try:
            yield check()
        except WrongSetting as error:
            yield [fail(name, str(error), "Correct it where it is set.")]
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            yield [
                fail(name, f"{where}{error.strerror or error}", "Fix the permissions of that file and of its folders.")
            ]


def _settings() -> tuple[Project, list[Finding]]:
    """The project, without its settings file when that cannot be used; and the findings on the settings."""
    remedy = "Correct it there; variables are set where the client or the shell starts us."
    project = Project(os.environ, str(Path.cwd()), with_file=False)
    try:
        project = Project(os.environ, str(Path.cwd()))
        settings = settings_of(project)
        settings.enabled(frozenset(op.toolset for op in tools()))
    except WrongSetting as error:
        return project, [fail("settings", str(error), remedy)]
    warnings = [warn("settings", warning, "Rename or unset it where it is set.") for warning in project.warnings()]
    found = f"toolsets {', '.join(sorted(settings.toolsets))}; leases of {settings.lease_seconds} s"
    if project.origins:
        found += f"; from {project.settings_file}: {', '.join(sorted(project.origins))}"
    return project, [ok("settings", found), *warnings]


def _snapshot() -> Finding:
    """What the server answers in its first moment is what it then serves."""
    remedy = "Reinstall wvo-mcp; in a checkout run scripts/snapshot."
    try:
        recorded = json.loads(SNAPSHOT.read_bytes())
        listed = {name: set(names) for name, names in recorded["toolsets"].items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        return fail("snapshot", f"{SNAPSHOT} cannot be used: {error}", remedy)
    served: dict[str, set[str]] = {}
    for op in tools():
        served.setdefault(op.toolset, set()).add(op.name)
    if listed != served:
        return fail("snapshot", "the packaged list of tools is not that of the program", remedy)
    return ok("snapshot", f"{sum(map(len, served.values()))} tools, as the program has them")
