"""What a turn of Claude Code used, counted when it ends: by a process of its own, so that the client waits for nothing."""

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wvo_mcp.faces.cli.application import Compose

SECONDS = 120
"""Then it is ended; the next turn counts what is left."""


def count_apart(fields: dict[str, Any], agent_id: str, compose: "Compose") -> None:
    """Begin to count the transcript that the hook's input names, and return at once."""
    transcript = fields.get("transcript_path")
    if not isinstance(transcript, str) or "\0" in transcript or not Path(transcript).is_file():
        return
    if os.fork():
        return
    try:
        os.setsid()  # the client may end the hook's group when the hook has answered
        signal.alarm(SECONDS)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nowhere, stream)
        count(Path(transcript), agent_id, Path(str(fields.get("cwd") or Path.cwd())), compose)
    finally:
        os._exit(0)


def count(transcript: Path, agent_id: str, cwd: Path, compose: "Compose") -> int:
    """Tokens counted now."""
    import anyio  # the hook itself starts without these

    from wvo_mcp.settings import load

    return anyio.run(compose().count_transcript, load(cwd), agent_id, transcript)
