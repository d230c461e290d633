"""The sandbox of a project, from its settings."""

import os
from collections.abc import Mapping
from pathlib import Path

from wvo_mcp.execution.sandbox.engine import Engine
from wvo_mcp.execution.sandbox.mounts import Here
from wvo_mcp.execution.sandbox.reaping import Journal
from wvo_mcp.execution.sandbox.running import DockerSandbox
from wvo_mcp.execution.trust import trust_file
from wvo_mcp.settings import Settings


def docker_sandbox(settings: Settings, environ: Mapping[str, str]) -> DockerSandbox:
    engine = Engine(environ)
    state = os.path.realpath(settings.state_dir)
    here = Here(
        root=os.path.realpath(settings.root),
        state=state,
        worktrees=os.path.realpath(settings.worktrees),
        home=os.path.realpath(environ.get("HOME") or Path.home()),
        closed=(engine.socket,),
        fixed=(os.path.realpath(trust_file(environ).parent),),
    )
    return DockerSandbox(engine, here, Journal(Path(state, "sandbox"), state))
