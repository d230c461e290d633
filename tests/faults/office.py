"""A process that leads when it can and tells what it does, one JSON list a line.

`python -m tests.faults.office FOLDER NAME [URL]`: the store is in the folder, or in the PostgreSQL database.

Its one job reads, then writes. While the file `pause-NAME` exists, it stops itself (SIGSTOP) between the two: the
worst moment for a leader to be paused in.
"""

import json
import logging
import signal
import sys
import threading
import time
from pathlib import Path

import anyio

from tests.support.leading import a_leader
from tests.support.sessions import an_agent
from tests.support.stores import a_store, attending
from wvo_mcp.domain.instant import iso
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.orchestration.leader import LeaderJob, LeaderTerm, Overtaken
from wvo_mcp.ports import Transaction


def tell(deed: str, token: int = 0, at: str = "") -> None:
    print(json.dumps([time.monotonic(), deed, token, at]), flush=True)  # noqa: T201 - the other end of the pipe reads it


async def lead(folder: Path, name: str, url: str | None = None) -> None:
    async def sign(term: LeaderTerm) -> None:
        book = await term.read(term.caller, lambda tx: tx.state.get("book")) or []
        pause = folder / f"pause-{name}"
        paused = pause.exists()
        if paused:
            pause.unlink()
            tell("pauses", term.token)
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

        async def signing(tx: Transaction) -> str:
            await tx.state.put("book", [*book[-500:], [name, term.token]])
            return iso(tx.now)

        try:
            at = await term.write(term.caller, signing)
        except (Overtaken, anyio.get_cancelled_exc_class()):
            # Refused by the fence, or cancelled because the next look at the leader came first.
            tell("gave up", term.token)
            raise
        tell("signed", term.token, at)

    caller = an_agent(name, name)
    store = a_store(folder, url)
    with attending(folder, url, caller.session_id):
        await store.open()
        tell("open")
        await a_leader(store, lambda: caller, SystemClock(), [LeaderJob("sign", 0, sign)]).run()


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    anyio.run(lead, Path(sys.argv[1]), *sys.argv[2:])
