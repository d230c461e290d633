"""What `wvo-mcp doctor` looks at before workers are launched: git, places, rules, policy, programs and logins. None of it
keeps people and attached agents from working, so none of it fails but a broken file."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import anyio

from wvo_mcp.domain.finding import Finding, fail, ok, warn
from wvo_mcp.domain.sandbox import IMAGE
from wvo_mcp.errors import InvalidInput, WvoError
from wvo_mcp.execution.agents.needs import missing
from wvo_mcp.execution.agents.tree import ProcessTrees
from wvo_mcp.execution.providers.parse import defaults, read
from wvo_mcp.execution.roadmap.rules import RulesOfRoadmap
from wvo_mcp.execution.safety.policy_file import open_differences
from wvo_mcp.execution.trust import Trust
from wvo_mcp.processes import NotStarted, Program, run_blocking

LEAST_GIT = (2, 38)
"""`merge-tree --write-tree` came with it."""
_TRUST = "Review it: wvo-mcp trust"
_SECONDS = 10


def git(root: Path, environ: Mapping[str, str]) -> Finding:
    if not any((up / ".git").exists() for up in (root, *root.parents)):
        found = (
            "there is no git repository: workers get copies of this folder, and nothing is verified before it is in it"
        )
        return warn("git", found, "Run git init and make a first commit, before you run wvo-mcp autopilot.")
    try:
        ended = run_blocking(Program(argv=("git", "--version"), env=environ, cwd=root, deadline=_SECONDS), keep=1_000)
    except NotStarted as error:
        return warn("git", f"git cannot be started: {error}", "Install git; workers need a worktree each.")
    version = re.search(rb"(\d+)\.(\d+)", ended.stdout)
    known = tuple(int(number) for number in version.groups()) if version else ()
    shown = ".".join(map(str, known)) or "not known"
    if known < LEAST_GIT:
        least = ".".join(map(str, LEAST_GIT))
        return warn("git", f"git is {shown}; workers need {least} or newer", "Update git.")
    return ok("git", f"{shown}: each worker gets a worktree of its own")


def worktrees(folder: Path) -> Finding:
    above = next(up for up in (folder, *folder.parents) if up.exists())
    if above.is_dir() and os.access(above, os.W_OK | os.X_OK):
        return ok("worktrees", str(folder))
    remedy = "Fix its permissions, or set WVO_WORKTREES_DIR to another folder."
    return warn("worktrees", f"{folder} cannot be made: {above} is not a writable folder", remedy)


def rules(path: Path, trust: Trust) -> list[Finding]:
    """`project:` of the roadmap. A roadmap that cannot be read has a finding of its own."""
    held = RulesOfRoadmap(path, trust)
    held.read_changes()
    found: list[Finding] = []
    if (waits := held.unaccepted()) is not None:
        found.append(warn("rules", waits, _TRUST))
    if not held.current().verify:
        remedy = "Write project.verify into state/roadmap.yaml (wvo-mcp init proposes it), then run wvo-mcp trust."
        found.append(warn("verify", "no command checks what workers hand in", remedy))
    return found or [ok("rules", f"what workers hand in is checked by {', '.join(held.current().verify)}")]


def policy(path: Path, trust: Trust) -> Finding:
    try:
        _, differences = open_differences(path, trust)
    except WvoError as error:
        return fail("policy", f"{error.message}; what was accepted before holds", error.hint)
    if differences:
        named = ", ".join(one.name for one in differences[:5])
        return warn("policy", f"{path.name} allows what no person has accepted: {named}", _TRUST)
    return ok(
        "policy", f"{path.name} is in force" if path.exists() else "the rules that ship with wvo-mcp are in force"
    )


def programs(path: Path, environ: Mapping[str, str], logins: Path) -> list[Finding]:
    """What a worker of each provider would miss. A broken providers.yaml has a finding of its own."""
    try:
        catalogue = read(path) or defaults()
    except InvalidInput:
        return []
    found = anyio.run(missing, catalogue.providers, environ, logins)
    return [warn(f"worker {name}", one.found, one.remedy or "") for name, one in found.items()]


def limits() -> Finding:
    """How the share of CPU is held; memory, time and cost are watched anywhere."""
    group = next(iter(ProcessTrees(1, 1).delegated()), None)
    how = "priority (nice 10), for control groups cannot be written" if group is None else f"control groups in {group}"
    return ok("limits", f"workers share the CPU by {how}")


def sandbox(environ: Mapping[str, str], state: Path) -> list[Finding]:
    """Which engine sandbox_run would use. Without one it refuses; nobody has to have one."""
    from wvo_mcp.execution.sandbox.engine import Engine  # commands other than doctor need it seldom
    from wvo_mcp.execution.sandbox.reaping import Journal

    engine = Engine(environ)
    if not engine.seems_there():
        return [ok("sandbox", "there is no Docker engine: sandbox_run refuses; start one, or set DOCKER_HOST")]
    try:
        facts, has_image = engine.examined()
    except WvoError as error:
        remedy = "Start it, or let this user reach it; until then sandbox_run refuses and nothing runs outside of it."
        return [warn("sandbox", error.message, remedy)]
    found = f"Docker {facts.version}, {'rootless' if facts.rootless else 'as root'}, control groups {facts.cgroups}"
    if facts.missing:
        remedy = "Turn it on in the engine or the kernel; until then sandbox_run refuses."
        return [warn("sandbox", f"{found}; it does not enforce {', '.join(facts.missing)}", remedy)]
    findings = [ok("sandbox", f"{found}; memory, CPU, processes and system calls are limited")]
    if not has_image:
        text = f"{IMAGE} is not built (scripts/sandbox-image): sandbox_run needs an image that the policy lists"
        findings.append(ok("sandbox image", text))
    if many := len(Journal(state / "sandbox", "").left()):
        findings.append(
            warn("sandbox runs", f"{many} were cut off", "The next server or run removes their containers.")
        )
    return findings
