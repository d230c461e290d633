"""How often a client that does not wait has our tools in its first turn."""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.clients.models.script import Say
from tests.clients.programs import CLIENTS
from tests.clients.workspace import CORE_TOOLS

# gemini waits for its servers, so that its first turn proves nothing about our start.
IMPATIENT = ("claude", "codex")


@dataclass(frozen=True)
class Start:
    """One start: which of our tools its first turn lacked, and seconds of wall time for the whole run."""

    program: str
    missing: tuple[str, ...]
    seconds: float


def first_turns(program: str, starts: int, place: Path, *, delay: int = 0) -> Iterator[Start]:
    """Starts a client `starts` times, one after the other, each in a fresh home and workspace under `place`.

    The server is entered in the project (claude) or the user configuration (codex), so that neither waits for it.
    `delay` makes the server start so many seconds later.
    """
    for number in range(starts):
        client = CLIENTS[program].wired(place / f"{program}-{number}")
        if delay:
            client.delay_server(delay)
        with client.model([Say("Hello.")]) as model:
            run = client.ask(model, "Say hello.", waits=False)
        assert run.exit_code == 0, run.report()
        body = model.turns[0].body
        missing = CORE_TOOLS - model.tool_names(body) - model.announced_tools(body)
        yield Start(program, tuple(sorted(missing)), round(run.seconds, 3))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one JSON line for each start; exits with 1 when a first turn lacked a tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=20, help="starts of each program (20)")
    parser.add_argument("--program", choices=IMPATIENT, help="only this one (both)")
    asked = parser.parse_args(arguments)
    late = 0
    with tempfile.TemporaryDirectory() as place:
        for program in [asked.program] if asked.program else IMPATIENT:
            for start in first_turns(program, asked.starts, Path(place)):
                late += bool(start.missing)
                sys.stdout.write(json.dumps(asdict(start)) + "\n")
    return 1 if late else 0


if __name__ == "__main__":
    raise SystemExit(main())
