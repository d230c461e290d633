"""The providers of one workspace: its file, read anew when it changes, and what this machine finds of them.

The reader of YAML and the client of HTTP are imported when they are first needed: most starts need neither at once.
"""

import logging
import time
from collections.abc import Mapping
from pathlib import Path

import anyio
import anyio.to_thread

from wvo_mcp.domain.known_secrets import register_secret
from wvo_mcp.domain.providers.catalogue import Catalogue, Provider
from wvo_mcp.domain.providers.routing import Presence
from wvo_mcp.errors import InvalidInput, WvoError
from wvo_mcp.ports import Clock
from wvo_mcp.ports.providers import Standing

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks at the file."""
PRESENCE_SECONDS = 30.0
_FRESH_NANOSECONDS = 2_000_000_000

_Mark = tuple[int, int, int] | None


class ProvidersOfWorkspace:
    """Implements `ports.providers.Providers`. Without the file the packaged defaults hold, without limits.

    A changed file is read once it has stood still from one look to the next: an editor that writes in place may have
    saved half of it, and half a file may be a valid one, with providers or limits missing.
    """

    def __init__(self, path: Path, environ: Mapping[str, str], clock: Clock) -> None:
        self._path = path
        self._environ = environ
        self._clock = clock
        self._next_look = float("-inf")
        self._begun = False
        self._seen: _Mark = None
        self._read: _Mark | str = ""
        """The mark of what was read last; "" when that must be read again."""
        self._catalogue: Catalogue | None = None
        self._error: InvalidInput | None = None
        self._presence: Mapping[str, Presence] = {}
        self._asked: anyio.Event | None = None
        self._changed: anyio.Event | None = None

    def current(self) -> Catalogue:
        self._refresh()
        if self._catalogue is None:
            error = self._error
            assert error is not None  # noqa: S101 - one of the two is there after a look
            raise InvalidInput("providers", error.details["problem"], message=error.message, **_rest(error))
        return self._catalogue

    def problem(self) -> str | None:
        self._refresh()
        return None if self._error is None else self._error.message

    def presence(self) -> Mapping[str, Presence]:
        if self._asked is not None:
            self._asked.set()
        return self._presence

    async def look(self) -> None:
        from wvo_mcp.execution.providers import presence  # only servers look

        try:
            catalogue = self.current()
        except InvalidInput:
            return
        self._presence = await presence.found(catalogue.providers, self._environ)

    async def examine(self, provider: Provider) -> Standing:
        from wvo_mcp.execution.providers.standing import examine  # only those who ask need it

        return await examine(provider, self._environ)

    async def run(self) -> None:
        """Until cancelled: what is found is never much older than the last question for it. One in every server; does
        nothing while nobody asks."""
        await anyio.to_thread.run_sync(_warm)
        while True:
            self._asked, self._changed = anyio.Event(), anyio.Event()
            try:
                await self.look()
            except Exception:  # an edge: the loop must outlive a defect of one look
                logger.exception("the look for providers failed")
            with anyio.move_on_after(PRESENCE_SECONDS):
                await self._changed.wait()
            await self._asked.wait()

    def _refresh(self) -> None:
        now = self._clock.steady()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        mark = self._mark()
        moved = mark != self._seen
        self._seen = mark
        if (moved and self._begun) or mark == self._read:
            return
        self._begun = True
        # A change within the same tick of the file system's clock would leave no trace: what is young is read again.
        young = mark is not None and abs(time.time_ns() - mark[0]) < _FRESH_NANOSECONDS
        self._read = "" if young else mark
        self._load()

    def _mark(self) -> _Mark:
        try:
            now = self._path.stat()
        except OSError:
            return None
        return now.st_mtime_ns, now.st_size, now.st_ino

    def _load(self) -> None:
        from wvo_mcp.execution.providers.file import defaults, read  # with the reader of YAML

        before = self._catalogue
        try:
            self._catalogue = read(self._path) or defaults()
            self._error = None
            for provider in self._catalogue.providers:
                if provider.key_env is not None:
                    register_secret(self._environ.get(provider.key_env))
        except InvalidInput as error:
            if self._error is None or self._error.message != error.message:
                logger.warning("%s", error.message)
            self._error = error
        if self._changed is not None and self._catalogue != before:
            self._changed.set()


def _rest(error: WvoError) -> dict[str, object]:
    return {key: value for key, value in error.details.items() if key not in ("field", "problem")}


def _warm() -> None:
    """What takes a moment to import, before the event loop needs it."""
    from wvo_mcp.execution.providers import presence, servers
    from wvo_mcp.execution.providers.file import defaults

    del presence, servers
    defaults()
