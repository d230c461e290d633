"""A project with a repository, a person, and models for several vendors, on which `wvo-mcp autopilot` is run for real."""

import hashlib
import json
import os
import re
import sqlite3
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import psutil

from tests.clients.models.anthropic import AnthropicModel
from tests.clients.models.gemini import GeminiModel
from tests.clients.models.openai import OpenAIModel
from tests.clients.models.script import Call, Say, ScriptedModel, Step
from tests.clients.processes import Finished, run
from tests.clients.programs import SERVER, clean_environment

VENDORS = ("claude", "codex", "gemini")
TIERS = {"claude": ("high", 9), "codex": ("medium", 6), "gemini": ("low", 2)}
"""The tier of each vendor, and the complexity of tasks that go there."""
_MODELS: Mapping[str, type[ScriptedModel]] = {"claude": AnthropicModel, "codex": OpenAIModel, "gemini": GeminiModel}
_SHELLS = {"claude": ("Bash", "command"), "codex": ("exec_command", "cmd"), "gemini": ("run_shell_command", "command")}
NAMES = {"claude": "sonnet", "codex": "gpt-5", "gemini": "gemini-2.5-flash"}


def shell(vendor: str, command: str) -> Call:
    """The vendor's own tool for a shell."""
    tool, field = _SHELLS[vendor]
    return Call(tool, {field: command}, own=True)


def doing(vendor: str, task: str, command: str, *more: Step) -> list[Step]:
    """A conversation that takes a task to its end."""
    return [
        Call("checkpoint", {"task_id": task, "summary": f"{task} is begun", "next_steps": "write the file"}),
        shell(vendor, command),
        *more,
        Call("complete_task", {"task_id": task, "summary": f"{task} is done", "evidence": ["The file is there."]}),
        Say(f"{task} is done."),
    ]


class Project:
    """`tasks`: {id: (vendor, ids that it depends on)}; `reviewers`: vendors besides, for all work is reviewed then. Entered,
    the models serve."""

    def __init__(
        self, place: Path, tasks: Mapping[str, tuple[str, Sequence[str]]], reviewers: Sequence[str] = ()
    ) -> None:
        self.root, self.home = place / "project", place / "home"
        self._place = place
        self._tasks = tasks
        self._reviewers = reviewers
        self._vendors = sorted({*reviewers, *(vendor for vendor, _ in tasks.values())})
        self.scripts: dict[str, dict[str, list[Step]]] = {vendor: {} for vendor in VENDORS}
        self.models: dict[str, ScriptedModel] = {}
        self.besides: dict[str, str] = {}
        """Variables of the person's environment; an empty one is taken out."""
        self._stack = ExitStack()
        (self.root / "state").mkdir(parents=True)
        self.home.mkdir()
        for file, text in {
            ".bashrc": "# theirs\n",
            ".gitconfig": "[user]\nname = A\nemail = a@b\n",
            **self._traps(),
        }.items():
            (self.home / file).parent.mkdir(exist_ok=True)
            (self.home / file).write_text(text)
        (self.root / "state/roadmap.yaml").write_text(self._roadmap())
        (self.root / "state/providers.yaml").write_text(self._providers())
        (self.root / ".gitignore").write_text("state/\n")
        (self.root / "README.md").write_text("A shop.\n")
        for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "Begin"]):
            self.git(*command)
        (self.root / "notes.txt").write_text("not committed\n")
        for task, (vendor, _) in tasks.items():
            self.script(task, doing(vendor, task, f"echo {task} > {task}.txt"))

    def _traps(self) -> dict[str, str]:
        """The person's own configuration of each program: whatever of it is used leaves a file in the home."""
        springs = f"touch {self.home}/sprung"
        server = {"command": "sh", "args": ["-c", springs]}
        hook = {"hooks": [{"type": "command", "command": springs}]}
        events = {"SessionStart": [hook], "PreToolUse": [hook], "BeforeTool": [hook]}
        settings = json.dumps({"hooks": events, "mcpServers": {"theirs": server}})
        codex = (
            f"notify = ['sh', '-c', '{springs}']\n[mcp_servers.theirs]\ncommand = 'sh'\nargs = ['-c', '{springs}']\n"
        )
        return {
            ".claude.json": json.dumps({"mcpServers": {"theirs": server}}),
            ".claude/settings.json": settings,
            ".codex/config.toml": codex,
            ".gemini/settings.json": settings,
        }

    def script(self, task: str, steps: Sequence[Step]) -> None:
        """What the task's model does. The key is how the prompt of that task begins."""
        self.scripts[self._tasks[task][0]][f"# {task}: "] = list(steps)

    def __enter__(self) -> Self:
        self.models = {one: self._stack.enter_context(_MODELS[one](self.scripts[one])) for one in self._vendors}
        self.command("trust", "--yes")
        self.command("roadmap-sync")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def environment(self) -> dict[str, str]:
        """The person's, with logins made for workers."""
        addresses = {one: model.url for one, model in self.models.items()}
        given = {
            "ANTHROPIC_API_KEY": "dummy-anthropic",
            "ANTHROPIC_BASE_URL": addresses.get("claude", ""),
            "OPENAI_API_KEY": "dummy-openai",
            "OPENAI_BASE_URL": f"{addresses.get('codex', '')}/v1",
            "GEMINI_API_KEY": "dummy-gemini",
            "GOOGLE_GEMINI_BASE_URL": addresses.get("gemini", ""),
            "CLAUDE_CODE_MAX_RETRIES": "2",
        }
        known = {**clean_environment(self._place / "person"), "HOME": str(self.home), **given, **self.besides}
        return {name: value for name, value in known.items() if value}

    def git(self, *words: str) -> str:
        return subprocess.run(
            ["git", "-c", "user.name=A", "-c", "user.email=a@b", *words],
            cwd=self.root,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def command(self, *words: str, deadline: float = 100.0) -> Finished:
        done = self.ran(*words, deadline=deadline)
        assert done.exit_code == 0, done.report()
        return done

    def ran(self, *words: str, deadline: float = 100.0) -> Finished:
        """The same, whatever its exit code is."""
        return run([SERVER, *words], cwd=self.root, env=self.environment, deadline=deadline)

    def autopilot(self, *words: str, deadline: float = 300.0) -> tuple[dict[str, Any], Finished]:
        """The last line, and all of it."""
        done = self.command("autopilot", "--json", *words, deadline=deadline)
        return json.loads(done.stdout.splitlines()[-1]), done

    @contextmanager
    def autopilot_beside(self, *words: str) -> Generator[subprocess.Popen[str]]:
        """One that runs while the test does something; its stdout is a pipe. It is killed at the end."""
        command = [str(SERVER), "autopilot", "--json", *words]
        with (self._place / "autopilot.err").open("w") as errors:
            process = subprocess.Popen(
                command, cwd=self.root, env=self.environment, stdout=subprocess.PIPE, stderr=errors, text=True
            )
            try:
                yield process
            finally:
                process.kill()
                process.communicate()

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        uri = f"{(self.root / 'state/state.db').as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=10)) as database:
            return database.execute(query, values).fetchall()

    def belongings(self) -> dict[str, str]:
        """Digests of all that is the person's: the checkout but for its state, the repository's own files, the home."""
        found: dict[str, str] = {}
        for top in (self.root, self.home):
            for path in sorted(top.rglob("*")):
                inside = path.relative_to(top).as_posix()
                ours = inside.startswith(
                    ("state/", ".git/objects", ".git/refs/wvo", ".git/refs/heads/wvo", ".git/logs")
                )
                ours |= inside.startswith((".git/worktrees", "tmp"))
                if path.is_file() and not ours and inside != ".git/info/exclude":
                    found[f"{top.name}/{inside}"] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def processes(self) -> list[str]:
        """Command lines of processes that know this project."""
        marks = (str(self.root), str(self._place))
        found: list[str] = []
        for process in psutil.process_iter():
            try:
                known = [*process.cmdline(), process.cwd()]
            except (psutil.Error, OSError):
                continue
            if process.pid != os.getpid() and any(mark in word for word in known for mark in marks):
                found.append(" ".join(known))
        return found

    def watched(self) -> tuple[set[str], set[str]]:
        """Command lines of all that runs whenever a model is asked something, and the keys that workers have then, as they are
        collected."""
        lines: set[str] = set()
        keys: set[str] = set()

        def look() -> None:
            lines.update(self.processes())
            for name in ("mcp.json", "config.toml", ".gemini/settings.json"):
                for path in self.root.glob(f"state/workers/tasks/*/*/{name}"):
                    with suppress(OSError):  # that of a task which has just ended
                        keys.update(re.findall(r'"WVO_WORKER_KEY" ?[:=] "([^"]+)"', path.read_text()))

        for model in self.models.values():
            model.on_request = look
        return lines, keys

    def _roadmap(self) -> str:
        lines = ["project: {review: required}"] if self._reviewers else []
        lines += ["epics:", "  - id: SHOP", "    title: A shop", "    tasks:"]
        for task, (vendor, needed) in self._tasks.items():
            size = TIERS[vendor][1]
            lines.append(
                f"      - {{id: {task}, title: The part {task}, complexity: {size}, depends_on: [{', '.join(needed)}]}}"
            )
        return "\n".join(lines) + "\n"

    def _providers(self) -> str:
        lines = ["mode: cloud", "providers:"]
        for vendor in self._vendors:
            model = f"{{model: {NAMES[vendor]}, cost: {{input: 3, output: 15}}}}"
            lines += [f"  {vendor}:", f"    kind: {vendor}", "    tiers:", f"      {TIERS[vendor][0]}: {model}"]
        return "\n".join(lines) + "\n"
