"""The providers of one workspace: its file, read again when it changes, and what this machine finds of them.

The reader of YAML and the client of HTTP are imported when they are first needed: most starts need neither at once.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from wvo_mcp.domain.known_secrets import holds_words, register_secret
from wvo_mcp.errors import InvalidInput
from wvo_mcp.execution.replacement import fingerprint
from wvo_mcp.execution.trust import PROVIDERS, Trust
from wvo_mcp.ports import Clock
from wvo_mcp.ports.providers import ProviderCheck

if TYPE_CHECKING:  # a first call needs nothing of these
    from wvo_mcp.domain.providers.catalogue import Catalogue, Provider
    from wvo_mcp.domain.providers.state import Presence

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks at the file."""
PRESENCE_SECONDS = 30.0
ASKED_SECONDS = 1.0
"""How soon a server looks for the providers of which a call asked."""
FIRST_LOOK_SECONDS = 2.0
"""After its start a server looks unasked: most ask once, for their only claim, and that is routed by what is here."""
_YOUNG_SECONDS = 2.0

_KEY_ENV = re.compile(rb"key_env[\"']?[ \t]*:[ \t]*[\"']?([A-Za-z_][A-Za-z0-9_]{0,99})")
_MOST_BYTES = 2**18


class ProvidersOfWorkspace:
    """Implements `ports.providers.Providers`. Without the file the packaged defaults hold, without limits.

    A changed file is read once it is the same at two checks: an editor that writes in place may have
    saved half of it, and half a file may be a valid one, with providers or limits missing. After a pause without
    checks the time of the change decides: a server that was idle must not answer its first call by a file of yesterday.

    Only `refresh` looks at the file: what transactions ask, in whatever thread they run, is answered from memory, so that
    no file is read while others wait for the lock of the store.
    """

    def __init__(self, path: Path, environ: Mapping[str, str], clock: Clock, trust: Trust | None = None) -> None:
        """Without `trust` all of the file holds."""
        self._path = path
        self._trust = trust
        self._environ = environ
        self._clock = clock
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._seen: str | None = None
        self._read: str | None = ""
        """The fingerprint of what was read last; "" when that must be read again."""
        self._held: tuple[Catalogue | None, InvalidInput | None] = (None, None)
        """What holds of it, or why nothing does; what is wrong in any case."""
        self._stated: Catalogue | None = None
        self._problem: InvalidInput | None = None
        """The last good one as it stands in the file, and what is wrong with the file now."""
        self._accepted: str | None = None
        """The mark of what people accepted."""
        self._unaccepted: str | None = None
        self._presence: Mapping[str, Presence] = {}
        self._asked = False

    def learn_keys(self) -> None:
        """The value of a `key_env` is a secret even before the file is parsed: it may be broken, and most commands
        never read it."""
        try:
            if not self._path.is_file():
                return
            with self._path.open("rb") as file:
                names = _KEY_ENV.findall(file.read(_MOST_BYTES))
        except OSError:
            return
        for name in {each.decode() for each in names}:
            if not holds_words(name):
                register_secret(self._environ.get(name))

    async def refresh(self) -> None:
        # Not in a thread: two looks at a file, and its text when it has changed, take less than a hop, and calls that came
        # in one go would overtake each other meanwhile.
        self.read_changes()

    def current(self) -> Catalogue:
        catalogue, error = self._held
        if catalogue is not None:
            return catalogue
        if error is None:
            raise RuntimeError("the providers are asked for before `refresh`")
        more = {key: value for key, value in error.details.items() if key not in ("field", "problem")}
        refusal = InvalidInput("providers", error.details["problem"], message=error.message, **more)
        refusal.hint = "Fix state/providers.yaml, or ask a person to; then call again."
        raise refusal

    def problem(self) -> str | None:
        error = self._held[1]
        return None if error is None else error.message

    def unaccepted(self) -> str | None:
        return self._unaccepted

    def presence(self) -> Mapping[str, Presence]:
        self._asked = True
        return self._presence

    async def look(self) -> None:
        from wvo_mcp.execution.providers import presence  # only servers look

        await self.refresh()
        try:
            catalogue = self.current()
        except InvalidInput:
            return
        self._presence = await presence.found(catalogue.providers, self._environ)

    async def check(self, providers: Sequence[Provider]) -> dict[str, ProviderCheck]:
        from wvo_mcp.execution.providers import presence  # only those who ask need it

        return await presence.check_all(providers, self._environ)

    async def run(self) -> None:
        """Until cancelled: looks soon after the start, then every 30 seconds as long as calls ask in between. One in every
        server; what a look needs is imported for the first one, which comes after most first answers."""
        with anyio.move_on_after(FIRST_LOOK_SECONDS):
            await self._until_asked()
        while True:
            await anyio.to_thread.run_sync(_warm)
            self._asked = False
            try:
                await self.look()
            except Exception:  # an edge: the loop must outlive a defect of one look
                logger.exception("the look for providers failed")
            await anyio.sleep(PRESENCE_SECONDS)
            await self._until_asked()

    async def _until_asked(self) -> None:
        while not self._asked:  # noqa: ASYNC110 - it is set in whatever thread a transaction runs
            await anyio.sleep(ASKED_SECONDS)

    def read_changes(self) -> None:
        """`refresh`, in the thread of the caller."""
        with self._lock:
            now, before = self._clock.steady(), self._looked
            if now >= before + LOOK_SECONDS:
                self._look_at_file(rested=now - before > 2 * LOOK_SECONDS)
                self._looked = now

    def _look_at_file(self, *, rested: bool) -> None:
        mark = fingerprint(self._path)
        try:  # a change within the same tick of the file system's clock would leave no trace: what is young is read again
            young = abs(time.time() - self._path.stat().st_mtime) < _YOUNG_SECONDS
        except OSError:
            young = False
        first = self._stated is None and self._problem is None
        settled = first or mark == self._seen or (rested and mark is not None and not young)
        self._seen = mark
        accepted = None if self._trust is None else self._trust.fingerprint()
        if accepted != self._accepted:
            self._accepted = accepted
            self._judge()
        if settled and mark != self._read:
            self._read = "" if young else mark
            self._load()

    def _load(self) -> None:
        from wvo_mcp.execution.providers.parse import defaults, read  # with the reader of YAML

        self.learn_keys()
        try:
            self._stated, self._problem = read(self._path) or defaults(), None
        except InvalidInput as error:
            if self._problem is None or self._problem.message != error.message:
                logger.warning("%s", error.message)
            self._problem = error
        self._judge()

    def _judge(self) -> None:
        """What is stated holds as far as it was accepted."""
        stated, problem = self._stated, self._problem
        if stated is not None and self._trust is not None:
            from wvo_mcp.domain.providers.trust import held_back, parts_of, waits
            from wvo_mcp.execution.providers.parse import defaults  # with the reader of YAML

            stated, waiting = held_back(stated, self._trust.accepted(PROVIDERS), parts_of(defaults()))
            self._unaccepted = waits(waiting)
            if self._unaccepted is not None and not stated.providers:  # nothing holds, and callers get the reason
                reason = InvalidInput("providers", self._unaccepted, message=f"{self._unaccepted}.")
                stated, problem = None, problem or reason
        self._held = (stated, problem)
        for provider in () if stated is None else stated.providers:
            if provider.key_env is not None:
                register_secret(self._environ.get(provider.key_env))


def _warm() -> None:
    """What takes a moment to import, before the event loop needs it."""
    import httpx2

    from wvo_mcp.execution.providers import presence
    from wvo_mcp.execution.providers.parse import defaults

    del httpx2, presence
    defaults()
