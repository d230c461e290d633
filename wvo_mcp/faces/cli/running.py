"""A run of the autopilot as a person sees and ends it."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import anyio

from wvo_mcp.domain.autopilot import AutopilotOptions, PageAt
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.redaction import redacted
from wvo_mcp.errors import StoreBusy, StoreUnavailable
from wvo_mcp.faces.cli.output import print_line
from wvo_mcp.faces.cli.session import Application
from wvo_mcp.orchestration.planning.planner import Prepared
from wvo_mcp.ports import WatchedStore
from wvo_mcp.ports.agents import AgentDriver
from wvo_mcp.settings import Settings

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 1.0
_BREATH = 0.1
"""Minimum seconds between two reads, however much happens."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DRAINING = "Ctrl-C: no further task is begun; what runs is finished. Ctrl-C again stops the workers."
_STOPPING = "Stopping the workers; their tasks return to the queue."

News = Callable[[Mapping[str, Any]], None]
Drivers = Mapping[str, AgentDriver]


class Planning(Protocol):
    async def prepare(self, goal: str | None, resume: str | None, target: str | None, asked_by: str) -> Prepared: ...


class AutopilotRun(Protocol):
    """One life of the autopilot, from the outside. Entering it launches nothing."""

    run_id: str
    page: PageAt | None

    @property
    def planner(self) -> "Planning": ...

    async def plan(self) -> Mapping[str, Any]:
        """What it may do and spend: {workers, max_tasks, max_cost_usd, ready, open, tiers, notes, ...}."""
        ...

    async def work(self) -> Mapping[str, Any]:
        """Until it is over: {done, landed, failed, waiting: [{task_id, reason, ...}], ended, cost_usd, tokens}."""
        ...

    def drain(self) -> None:
        """Begin nothing more."""

    def stop(self) -> None:
        """End the workers now; their tasks return to the queue."""


class Runner(Application, Protocol):
    def run_autopilot(
        self, settings: Settings, options: AutopilotOptions, on_news: News, drivers: Drivers | None = None
    ) -> AbstractAsyncContextManager[AutopilotRun]:
        """`drivers`, by kind of provider: these and no others. Raises Conflict while another autopilot runs for this store on
        this host, NotConfigured."""
        ...


async def drive(
    application: Runner,
    settings: Settings,
    options: AutopilotOptions,
    screen: "Lines",
    *,
    dry_run: bool,
    drivers: Drivers | None = None,
) -> int:
    """Its whole life; the exit code."""
    async with application.run_autopilot(settings, options, screen.news, drivers) as run:
        plan = await run.plan()
        screen.begins(plan)
        if dry_run:
            return 0
        if run.page is not None:
            screen.opens(run.page)
        with _ended_by_people(run, screen) as ending:
            summary: Mapping[str, Any] = {}
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(screen.follow, application, settings, run.run_id, plan)
                summary = await run.work()
                tasks.cancel_scope.cancel()
        screen.ends(summary)
    failed = any(not one.get("cancelled") for one in summary.get("failed", ()))  # people may want less done
    return ending.code or int(options.strict and failed)


@dataclass(slots=True)
class _Ending:
    presses: int = 0
    code: int = 0
    """Of what stopped it."""


@contextmanager
def _ended_by_people(run: AutopilotRun, screen: "Lines") -> Generator[_Ending]:
    """The first Ctrl-C drains, the second stops, a third is the interpreter's. Who asks the process to end, or closes its
    terminal, stops it at once."""
    ending, loop = _Ending(), asyncio.get_running_loop()

    def signalled(number: int) -> None:
        ending.presses += 1
        if number == signal.SIGINT and ending.presses == 1:
            run.drain()
            screen.says(_DRAINING)
            return
        ending.code = ending.code or 128 + number
        run.stop()
        screen.says(_STOPPING)
        loop.remove_signal_handler(signal.SIGINT)

    for number in _SIGNALS:
        loop.add_signal_handler(number, signalled, number)
    try:
        yield ending
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


class Lines:
    """A line of JSON for everything that happens: for programs."""

    def begins(self, plan: Mapping[str, Any]) -> None:
        self.news({"event": "plan", **plan})

    def news(self, one: Mapping[str, Any]) -> None:
        """Workers go on whatever becomes of who reads about them: a closed pipe, a full disk, a terminal that is gone."""
        try:
            self.show(one)
        except OSError:
            pass
        except Exception:  # an edge: a line that cannot be shown ends no worker
            logger.exception("what happened cannot be shown")

    def show(self, one: Mapping[str, Any]) -> None:
        print_line(redacted({**one, "at": one.get("at") or iso(datetime.now(UTC))}))
        sys.stdout.flush()

    def says(self, text: str) -> None:
        self.news({"event": "notice", "text": text})

    def opens(self, page: PageAt) -> None:
        """The link is for whoever reads this: it alone is not redacted."""
        known = {"event": "page", **{name: value for name, value in asdict(page).items() if value}}
        with suppress(OSError):
            print_line({**known, "at": iso(datetime.now(UTC))})
            sys.stdout.flush()

    async def follow(self, application: Runner, settings: Settings, run_id: str, plan: Mapping[str, Any]) -> None:
        """What is drawn beside the news, until cancelled; its end, and a fault of it, end nothing else."""
        try:
            await self.draw(application, settings, run_id, plan)
        except Exception as error:  # an edge, as above
            logger.warning("The live view has ended; the workers go on. (%s)", error)

    async def draw(self, application: Runner, settings: Settings, run_id: str, plan: Mapping[str, Any]) -> None:
        """Everything has been said by the news."""

    def ends(self, summary: Mapping[str, Any]) -> None:
        print_line(redacted({"event": "summary", **summary, "at": iso(datetime.now(UTC))}))


class Screen(Lines):
    """What happens scrolls by; who works on what stays at the bottom."""

    def __init__(self) -> None:
        from rich.console import Console  # costs a tenth of a second and serves terminals only
        from rich.live import Live

        self._console = Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._ending = ""

    def begins(self, plan: Mapping[str, Any]) -> None:
        from wvo_mcp.faces.cli.views import autopilot

        self._console.print(autopilot.plan(redacted(dict(plan))))

    def opens(self, page: PageAt) -> None:
        lines = [f"The page: {page.address}", *([page.note] if page.note else [])]
        lines += [f"Sign in, once and within 10 minutes: {page.sign_in}"] if page.sign_in else []
        for line in lines:  # whole, however narrow it is here: they are clicked
            self._console.print(line, soft_wrap=True, markup=False)

    def show(self, one: Mapping[str, Any]) -> None:
        from wvo_mcp.faces.cli.views import autopilot

        self._console.print(autopilot.news(redacted(dict(one)), datetime.now(UTC)))

    def says(self, text: str) -> None:
        self._ending = text

    async def draw(self, application: Runner, settings: Settings, run_id: str, plan: Mapping[str, Any]) -> None:
        """Read the store when something was written, and draw every second: countdowns go on."""
        from wvo_mcp.faces.cli.views import autopilot
        from wvo_mcp.operations.operation import ALL
        from wvo_mcp.operations.workers import workers

        op, caller, began = ALL[workers.__name__], application.cli_caller(settings), datetime.now(UTC)
        async with application.opened(settings) as services:  # its own connection: one waits for changes at a time
            store, state = services.get(WatchedStore), None
            with self._live:
                while True:
                    with suppress(StoreBusy, StoreUnavailable):  # what was read last stays
                        if await store.wait_for_change(REFRESH_SECONDS) or state is None:
                            state = await op(services, caller, {"run_id": run_id})
                    now, cap = datetime.now(UTC), plan.get("max_cost_usd")
                    if state is not None:
                        running = autopilot.Running(state, now, began, plan.get("workers", 1), cap, self._ending)
                        self._live.update(running, refresh=True)
                    await anyio.sleep(_BREATH)

    def ends(self, summary: Mapping[str, Any]) -> None:
        from wvo_mcp.faces.cli.views import autopilot

        self._console.print(autopilot.summary(redacted(dict(summary)), datetime.now(UTC)))
