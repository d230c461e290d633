"""The suite runs as a person's, also when an agent started it.

Commands judge by their environment and by those of the processes above them whether an agent types them. So a suite that
was started in an agent's shell goes on in a process that descends from none of those.
"""

import os
import subprocess
import sys
from collections.abc import Mapping

from wvo_mcp.execution.identity import agent_shell, lineage

LEFT = "WVO_TEST_APART"

_STARTER = """
import os, subprocess, sys, threading
starter, (alive, result), command = os.getpid(), map(int, sys.argv[1:3]), sys.argv[3:]
if os.fork():
    os._exit(0)
while os.getppid() == starter:
    pass
suite = subprocess.Popen(command)
threading.Thread(target=lambda: os.read(alive, 1) or suite.terminate(), daemon=True).start()
os.write(result, bytes([suite.wait() & 255]))
"""


def in_agent_shell() -> bool:
    """As the commands that this process starts would find it."""
    return agent_shell({}, lineage(os.getpid())) is not None


def run_apart(command: list[str], environ: Mapping[str, str]) -> int:
    """Run a command below none of our ancestors; it ends with us. Its exit code."""
    (until, alive), (result, told) = os.pipe(), os.pipe()
    ends = (str(until), str(told))
    environ = {**environ, LEFT: "1"}
    subprocess.run([sys.executable, "-c", _STARTER, *ends, *command], env=environ, pass_fds=(until, told), check=True)
    os.close(until)
    os.close(told)
    code = os.read(result, 1)
    os.close(alive)
    return code[0] if code else 1
