"""`wvo-mcp orchestrate`: from a goal to its plan, its work and its proof."""

import asyncio
import gc
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import click

from wvo_mcp.domain.autopilot import AutopilotOptions
from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.visible import visible
from wvo_mcp.errors import BudgetExhausted, InvalidInput
from wvo_mcp.faces.cli import plan_file
from wvo_mcp.faces.cli.autopilot import PAGE_PORT, PORT, Dollars
from wvo_mcp.faces.cli.output import command, print_error, print_line, print_result, say
from wvo_mcp.faces.cli.running import Lines, Runner, Screen, drive
from wvo_mcp.faces.cli.session import Compose, settings_or_usage
from wvo_mcp.orchestration.planning.planner import Prepared
from wvo_mcp.project import WrongSetting
from wvo_mcp.settings import Settings

_FOLDER = click.Path(exists=True, file_okay=False, resolve_path=True)
_NOBODY = "Nobody is here to accept the plan: give --yes, or --dry-run and later --resume."
_CHOICES = click.Choice(["run", "edit", "later", "drop"])


@dataclass
class _Job:
    application: Runner
    settings: Settings
    screen: Lines
    options: AutopilotOptions
    as_json: bool
    verbose: bool

    def run(self, goal: str | None, resume: str | None, *, yes: bool, dry_run: bool) -> int:
        if goal is None and not (yes or dry_run or sys.stdin.isatty()):
            self._needs_nobody(resume)
        prepared = asyncio.run(self._prepared(goal, resume))
        known = prepared.orchestration_id
        if prepared.state == "planned":
            shown = self._ask("plan_show", id=known)
            self._show(shown, prepared)
            left = f"Nothing was begun. wvo-mcp orchestrate --resume {known} goes on."
            left = left if dry_run else self._accepted(shown, left, yes=yes)
            if left is not None:
                self._says(left)
                return 0
        elif dry_run:
            self._end(self._ask("plan_check", id=known))
            return 0
        code = asyncio.run(self._driven(prepared))
        end = self._ask("plan_check", id=known)
        self._end(end)
        return code or (0 if end["met"] else 1)

    def _needs_nobody(self, resume: str | None) -> None:
        """Before anything is spent."""
        over, known = ("done", "stopped"), self._ask("plans", limit=50)["plans"]
        goes_on = next((one for one in known if (one["id"] == resume if resume else one["state"] not in over)), None)
        if goes_on is not None and goes_on["state"] in ("planning", "planned"):
            raise click.UsageError(_NOBODY)

    async def _prepared(self, goal: str | None, resume: str | None) -> Prepared:
        planning = replace(self.options, page=None)
        async with self.application.run_autopilot(self.settings, planning, self.screen.news) as run:
            person = self.application.cli_caller(self.settings).agent_id
            return await run.planner.prepare(goal, resume, self.options.target, person)

    async def _driven(self, prepared: Prepared) -> int:
        options = AutopilotOptions(
            agents=self.options.agents,
            max_cost=self._left(
                prepared.orchestration_id, await self._asked("plan_check", id=prepared.orchestration_id)
            ),
            wait=self.options.wait,
            epic=prepared.orchestration_id,
            without=prepared.failed,
            target=prepared.target,
            page=self.options.page,
            any_port=True,
        )
        return await drive(self.application, self.settings, options, self.screen, dry_run=False)

    def _left(self, known: str, so_far: Mapping[str, Any]) -> float | None:
        """Of what the whole goal may cost."""
        most = self.options.max_cost
        if most is None or so_far["cost_usd"] < most:
            return None if most is None else most - so_far["cost_usd"]
        spent = f"{known} has cost ${so_far['cost_usd']:,.2f} so far, and --max-cost allows ${most:,.2f}."
        raise BudgetExhausted(spent, hint=f"wvo-mcp orchestrate --resume {known} --max-cost USD", until=None)

    def _accepted(self, shown: dict[str, Any], left: str, *, yes: bool) -> str | None:
        """Why nothing is begun; None once it is accepted. New commands run when a person has said so, and by no flag."""
        known = str(shown["id"])
        while not yes:
            match click.prompt("What now?", type=_CHOICES, default="run", err=self.as_json):
                case "edit":
                    shown = self._edited(shown)
                    continue
                case "later":
                    return left
                case "drop":
                    self._ask("plan_drop", id=known, reason="dropped before it was begun")
                    return f"{known} is dropped."
                case _:
                    break
        new = shown.get("new_commands", [])
        accepts = False
        if new and not yes:
            listed = "\n".join(f"  {visible(one)}" for one in new)
            click.echo(f"Commands that the project does not have:\n{listed}", err=self.as_json)
            asked = "Let these run for its tasks, and on this machine?"
            accepts = click.confirm(asked, default=False, err=self.as_json)
        commands = {"commands": "accept" if accepts else "leave"} if new else {}
        self._ask("plan_accept", id=known, plan_hash=shown["plan_hash"], **commands)
        return None

    def _edited(self, before: dict[str, Any]) -> dict[str, Any]:
        """As a roadmap, in the person's editor. What is wrong with it is said, and the plan stays as it was."""
        text = click.edit(plan_file.written(before), extension=".yaml")
        if text is None:
            return before
        try:
            shown = self._ask("plan_edit", id=before["id"], plan=plan_file.read(text))
        except InvalidInput as error:
            print_error(error, as_json=False)
            return before
        if self.as_json:
            print_line({"event": "planned", **shown})
        else:
            print_result("plan_show", shown, as_json=False)
        return shown

    def _says(self, text: str) -> None:
        """Also where nothing is drawn."""
        if self.as_json:
            self.screen.says(text)
        else:
            say(text)

    def _show(self, shown: dict[str, Any], prepared: Prepared) -> None:
        if self.as_json:
            print_line({"event": "planned", **shown, "crew": prepared.crew})
            return
        print_result("plan_show", shown, as_json=False)
        click.echo("; ".join(f"{part} by {name}" for part, name in sorted(prepared.crew.items())))
        for one in shown["plan"] if self.verbose else ():
            click.echo(plan_file.details(one))

    def _end(self, end: dict[str, Any]) -> None:
        if self.as_json:
            print_line({"event": "orchestration", **end})
        else:
            print_result("plan_check", end, as_json=False)

    def _ask(self, name: str, **given: Any) -> dict[str, Any]:
        return asyncio.run(self._asked(name, **given))

    async def _asked(self, name: str, **given: Any) -> dict[str, Any]:
        """As the person: they decide, and not the run."""
        from wvo_mcp.operations import named

        op, caller = named(name), self.application.cli_caller(self.settings)
        assert op is not None  # noqa: S101 - they are named above
        async with self.application.opened(self.settings) as services:
            return await op(services, caller, given)


def orchestrate_command(compose: Compose) -> click.Command:
    def run(given: dict[str, Any], as_json: bool) -> None:
        gc.enable()  # this command may live for days
        goal, resume, yes, dry_run = (given[name] for name in ("goal", "resume", "yes", "dry_run"))
        if (goal is None) is not resume and not (resume and _is_id(goal)):
            raise click.UsageError('Give a goal: wvo-mcp orchestrate "GOAL"; or --resume [ID].')
        if not (yes or dry_run or resume or sys.stdin.isatty()):
            raise click.UsageError(_NOBODY)
        if given["no_dashboard"] and given["port"] is not None:
            raise click.UsageError("Give --port or --no-dashboard.")
        if given["workspace"]:
            os.environ["ROOT"] = given["workspace"]
        settings = settings_or_usage()
        application = cast("Runner", compose())
        application.cli_caller(settings).admit(Role.OPERATOR, "orchestrate")
        shown = not given["no_dashboard"] and sys.stdout.isatty()
        options = AutopilotOptions(
            agents=given["agents"],
            max_cost=given["max_cost"],
            wait=not given["no_wait"],
            target=given["target"],
            page=given["port"] if given["port"] is not None else PAGE_PORT if shown else None,
        )
        screen = Lines() if as_json else Screen()
        job = _Job(application, settings, screen, options, as_json, given["verbose"])
        try:
            code = job.run(None if resume else goal, goal if resume else None, yes=yes, dry_run=dry_run)
        except WrongSetting as error:
            raise click.ClickException(str(error)) from None
        except (KeyboardInterrupt, click.Abort):
            click.echo("\nwvo-mcp orchestrate --resume goes on with it.", err=True)
            raise
        if code:
            raise click.exceptions.Exit(code)

    return command(
        "orchestrate",
        run,
        "Reach a goal: a program plans it as tasks of design, implementation and review, you accept the plan, coding agents"
        " do it as in wvo-mcp autopilot, and the end is checked point by point. Exit code 1 when a point is not met. New"
        " commands of a plan run only when you said so at the terminal. Interrupted, it goes on with --resume.",
        [
            click.Argument(["goal"], required=False, metavar='"GOAL"'),
            click.Option(["--workspace"], type=_FOLDER, help="The project's folder.  [default: here]"),
            click.Option(["--target"], metavar="BRANCH", help="Where work starts from and lands.  [default: as for all work]"),
            click.Option(["--agents"], type=click.IntRange(1, 64), help="Workers at once.  [default: 3]"),
            click.Option(["--max-cost"], type=Dollars(min=0, min_open=True), metavar="USD", help="Cost of the whole goal."),
            click.Option(["--yes"], is_flag=True, help="Begin without asking; new commands of the plan are left out."),
            click.Option(["--dry-run"], is_flag=True, help="Make the plan and show it; begin nothing."),
            click.Option(["--resume"], is_flag=True, help="Go on with a goal (its ID, or the newest that is not done)."),
            click.Option(["--no-wait"], is_flag=True, help="End without waiting for resets and people."),
            click.Option(["--port"], type=PORT, help="Of the page, while work is done; 0 takes a free one.  [default: 8737]"),
            click.Option(["--no-dashboard"], is_flag=True, help="Serve no page. A terminal has one by default."),
            click.Option(["--verbose"], is_flag=True, help="Show each task of the plan with all that it has."),
        ],
        short="Reach a goal: plan it, do it with coding agents, check it.",
    )  # fmt: skip


def _is_id(given: str | None) -> bool:
    return given is not None and given.startswith("O-") and given[2:].isdigit()
