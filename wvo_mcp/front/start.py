"""The process: settings are read, the pipes claimed, the wire started, and the application loaded behind it."""

from __future__ import annotations

import fcntl
import os
import signal
import sys

from wvo_mcp.front.opening import Opening, Record, load
from wvo_mcp.front.wire import Wire
from wvo_mcp.project import Project, WrongSetting, chosen_toolsets

TYPE_CHECKING = False  # typing itself would cost milliseconds
if TYPE_CHECKING:
    from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM) + (
    () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)  # nohup is respected
)

_SAME_SECONDS = 2.0
"""Signals that come so close mean the same: a group is told at once, and then each of its processes."""


def main() -> int:
    """Serve MCP on stdio until the client goes; the exit code. A start that fails says why in one line on stderr."""
    for number in _SIGNALS:
        signal.signal(number, _exit)
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # a standard descriptor that was closed must not be given to anything else
    os.close(spare)
    snapshot = load()
    try:
        project = Project(os.environ, os.getcwd())  # noqa: PTH109 - as above
        hidden = "WVO_TOOLSETS" in project.referring
        toolsets = chosen_toolsets(project.environ.get("WVO_TOOLSETS", ""), snapshot["toolsets"], referring=hidden)
    except (WrongSetting, OSError) as error:
        _say(_reason(error))
        return 2
    for warning in project.warnings():
        _say(warning)
    source, sink = _claim(0, os.open(os.devnull, os.O_RDONLY)), _claim(1, os.dup(2))
    if os.isatty(source):
        _say("serving MCP on this terminal, one JSON-RPC message a line; wvo-mcp --help lists the commands")
    wire = Wire(source, sink, Opening(Record(snapshot, toolsets)))
    wire.start()
    try:
        return _serve(wire, toolsets)
    except Exception as error:  # the edge of the process: the client and the person are told
        reason = _reason(error)
        wire.refuse(f"wvo-mcp cannot serve: {reason}")
        _say(reason)
        return getattr(error, "exit_code", 1)
    finally:
        wire.close()


def _serve(wire: Wire, toolsets: frozenset[str]) -> int:
    sys.setswitchinterval(0.0005)  # threads here are few and short; none should wait the usual 5 ms for its turn
    # Late: the application takes a while to import; the wire answers meanwhile.
    import asyncio
    import gc

    skip_plugins()
    gc.disable()  # until the wire is served: nothing of what is imported is garbage, and looking took a tenth of the time

    from wvo_mcp import app

    async def serve() -> int:
        loop = asyncio.get_running_loop()

        def leave() -> None:
            wire.hang_up()
            loop.call_later(_SAME_SECONDS, hurry)

        def hurry() -> None:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)  # a later one does not wait

        for number in _SIGNALS:
            loop.add_signal_handler(number, leave)
        return await app.serve(wire, toolsets)

    return asyncio.run(serve())


def skip_plugins() -> None:
    """Pydantic would look for plugins in the metadata of every installed package: a twentieth of the start."""
    plugins = type(sys)("pydantic.plugin._loader")
    plugins.__dict__["get_plugins"] = tuple
    sys.modules[plugins.__name__] = plugins


def _claim(standard: int, instead: int) -> int:
    """A private duplicate of a standard descriptor, which then leads elsewhere: children must not touch the wire."""
    private = fcntl.fcntl(standard, fcntl.F_DUPFD_CLOEXEC, 3)
    os.dup2(instead, standard)
    os.close(instead)
    return private


def _exit(number: int, _: object) -> NoReturn:
    os._exit(0)  # nothing is open yet that could be harmed


def _reason(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return _reason(error.exceptions[0])  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    if type(error).__module__.startswith("wvo_mcp."):
        return " ".join(f"{error} {getattr(error, 'hint', '')}".split())
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f" ({place.tb_frame.f_code.co_filename}:{place.tb_lineno})" if place is not None else ""
    return " ".join(f"{type(error).__name__}: {error}{where}".split())


def _say(line: str) -> None:
    os.write(2, f"wvo-mcp: {line}\n".encode(errors="replace"))
