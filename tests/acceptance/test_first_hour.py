"""A stranger's first hour: a fresh repository, an empty home, nothing but the installed command."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(sys.executable).parent / "wvo-mcp"


class Stranger:
    """Types commands in a new git repository; HOME is empty and no client is installed."""

    def __init__(self, place: Path) -> None:
        self.project, self._home = place / "project", place / "home"
        for folder in (self.project, self._home):
            folder.mkdir()
        self.run("git", "init", "--quiet")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.project,
            env={"HOME": str(self._home), "PATH": f"{PROGRAM.parent}:/usr/bin:/bin", "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def __call__(self, *argv: str) -> Any:
        """What a command that succeeds says, without a word on stderr."""
        done = self.run(str(PROGRAM), *argv)
        assert (done.returncode, done.stderr) == (0, ""), (argv, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def files(self) -> set[str]:
        return {str(path.relative_to(self.project)) for path in self.project.rglob("*") if ".git" not in path.parts}

    @property
    def untouched_home(self) -> bool:
        """But for what was accepted, which is kept outside of the project."""
        files = [path.relative_to(self._home).as_posix() for path in self._home.rglob("*") if path.is_file()]
        return set(files) <= {".config/wvo-mcp/trust.json", ".config/wvo-mcp/.lock"}


@pytest.mark.requirement("CORE-12", "CORE-16")
def test_a_first_hour_leads_from_nothing_to_work_done_and_back(tmp_path: Path) -> None:
    stranger = Stranger(tmp_path)
    # Looking around makes nothing.
    assert stranger("status")["counts"]["pending"] == 0
    assert stranger.files() == set()

    stranger("init", "--claude", "--codex", "--gemini")
    assert stranger.untouched_home
    examined = stranger("doctor")
    assert examined["ok"]
    # What belongs to the machine is not the stranger's doing: its disk, the programs that it has not got.
    warned = {check["check"] for check in examined["checks"] if check["outcome"] != "ok"}
    own = {check for check in warned if check != "disk" and not check.startswith(("provider", "worker"))}
    assert own <= {"git", "verify"}, "the project has nothing that could verify work"

    # The first command after init sees the roadmap; work goes on from one command to the next.
    assert stranger("status")["counts"]["pending"] > 0
    claimed = stranger("claim-task")
    task, token = claimed["task"]["id"], str(claimed["lease"]["token"])
    stranger("checkpoint", task, "half of it", "--lease-token", token)
    assert stranger("complete-task", task, "all of it", "--lease-token", token)["task"]["status"] == "done"
    assert stranger("status")["counts"]["done"] == 1

    taken_back = stranger("init", "--remove")
    left = {name.partition("/")[0] for name in stranger.files()}
    assert left == {"state", ".gitignore"}
    assert any("rm -r" in note for note in taken_back["notes"])
    assert stranger("init", "--remove")["changes"] == []
    assert stranger("status")["counts"]["done"] == 1
    assert stranger.untouched_home


@pytest.mark.full  # tests/execution/installation has it without processes
@pytest.mark.requirement("CORE-12")
def test_what_was_only_tried_out_goes_without_a_trace(tmp_path: Path) -> None:
    stranger = Stranger(tmp_path)
    (stranger.project / "README.md").write_text("# Mine\n")
    before = stranger.files()

    stranger("init", "--claude", "--codex", "--gemini")
    shown = stranger("init", "--remove", "--dry-run")
    assert {Path(change["path"]).name for change in shown["changes"]} >= {".mcp.json", "CLAUDE.md", "config.toml"}
    stranger("init", "--remove")

    assert stranger.files() == before
