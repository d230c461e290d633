"""The scripted agent with three steps more, for soaks. It writes down by itself what it uses, before it tells anybody.

{"spend": [IN, OUT]}   a line of LEDGER (the last argument) says so, then the sums of this process are told
{"orphans": N}         so many children that ignore SIGTERM, in sessions of their own, that nobody waits for
{"die": true}          as of an own defect
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_spec = importlib.util.spec_from_file_location("scripted_program", sys.argv[1])
assert _spec is not None and _spec.loader is not None
program: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(program)
LEDGER = Path(sys.argv[2])


class Session(program.Session):
    used = (0, 0)

    def step(self, step: dict[str, Any]) -> None:
        if "spend" in step:
            self.spend(*step["spend"])
        elif "orphans" in step:
            for _ in range(step["orphans"]):
                quiet: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
                command = ["/bin/sh", "-c", "trap '' TERM INT HUP; sleep 900 & wait; wait"]
                subprocess.Popen(command, start_new_session=True, **quiet)
        elif "die" in step:
            os.kill(os.getpid(), signal.SIGKILL)
        elif step.get("call") == "complete_task":  # whoever died in it, and goes on, does it again
            self.keep({**self.state, "steps": [step, *self.state["steps"]]})
            super().step(step)
            self.keep(self.state)
        else:
            super().step(step)

    def spend(self, tokens_in: int, tokens_out: int) -> None:
        line = {"at": time.time(), "task_id": self.state["task_id"], "in": tokens_in, "out": tokens_out}
        with LEDGER.open("a") as ledger:
            ledger.write(json.dumps(line) + "\n")
        self.used = (self.used[0] + tokens_in, self.used[1] + tokens_out)
        program.tell("usage", **dict(zip(("in", "out"), self.used, strict=True)))


program.Session = Session
program.main()
