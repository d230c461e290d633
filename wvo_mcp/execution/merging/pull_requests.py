"""Mode pull_request: the candidate is pushed as a branch of its own, and its pull request is followed until people merge it."""

import os
from dataclasses import replace

from wvo_mcp.domain.redaction import redact
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.merging import pushing
from wvo_mcp.execution.merging.forges import Api, Check, Denied, Forge, Gh, NotLoggedIn, Project, PullRequest
from wvo_mcp.execution.workspaces.proving import same_change
from wvo_mcp.execution.workspaces.repository import Common, part
from wvo_mcp.ports.merging import Candidate, Failing, Landed, Landing, NotNow

_MOST_TITLE = 200


def requested(common: Common, remote: str, landing: Landing, candidate: Candidate) -> Landed:
    """Open its pull request, or follow the one that is there. Raises NotNow as long as it is not merged; Failing, Tampered."""
    forge = _forge(common, remote)
    branch = branch_of(landing)
    found = forge.find(branch)
    if found is None:
        there = pushing.looked(common, remote, f"refs/heads/{branch}")
        if there is not None and there != candidate.commit and not common.contains(candidate.commit, there):
            # An earlier try was cut off before it was asked for, and the target moved since: what is there is as good.
            _check_ours(common, remote, landing, there)
        elif there != candidate.commit:
            pushing.put(common, remote, candidate.commit, _record(landing, candidate.commit))
            pushing.put(common, remote, candidate.commit, f"refs/heads/{branch}")
        forge.open(branch, landing.target, _title(landing), _body(landing))
        found = forge.find(branch)
    if found is None:
        raise NotNow(f"the pull request of {branch} was opened and is not shown yet")
    return _merged(common, remote, landing, forge, found)


def followed(common: Common, remote: str, landing: Landing) -> Landed | None:
    """How the target has it; None where there is no pull request, or it conflicts with the target. Raises NotNow as long as it
    is open, and when it was closed; Failing, Tampered."""
    forge = _forge(common, remote)
    found = forge.find(branch_of(landing))
    if found is None or (found.state == "open" and found.conflicts):
        return None
    return _merged(common, remote, landing, forge, found)


def branch_of(landing: Landing) -> str:
    """One for each submission, so that none is ever forced."""
    return f"wvo/{part(landing.task_id)}-{landing.number}"


def _merged(common: Common, remote: str, landing: Landing, forge: Forge, found: PullRequest) -> Landed:
    """Raises NotNow, Failing."""
    address = found.address
    if found.state == "merged":
        tip = pushing.fetched_tip(common, remote, landing.target)
        for commit in (found.merged_as, found.head):
            if commit is not None and common.commit_of(commit) is not None and common.contains(tip, commit):
                onto = _onto(common, landing, commit, found.head)
                return Landed(commit=commit, pull_request=address, onto=onto)
        where = "" if found.base == landing.target else f" (into {found.base})"
        raise NotNow(f"{address} is merged{where}, and {landing.target} does not have it", pull_request=address)
    if found.state == "closed":
        raise NotNow(f"a person closed {address} without merging it", passing=False, pull_request=address)
    moved = _moved(common, remote, landing, found.head)
    if not moved:  # else a person works on it
        _check_passing(forge, found)
    conflicts = f"; it conflicts with {landing.target}" if found.conflicts else ""
    raise NotNow(f"{address} is open{moved}{conflicts}", pull_request=address)


def _check_passing(forge: Forge, found: PullRequest) -> None:
    """Raises Failing once all have ended, NotNow."""
    try:
        checks = forge.checks(found)
    except Denied:  # who may open pull requests need not see them; people do
        return
    failed = {one.name: "\n".join(filter(None, (one.said, one.address))) for one in checks if one.state == "failed"}
    if failed and not any(one.state == "pending" for one in checks):
        raise Failing(found.address, failed)


def _onto(common: Common, landing: Landing, merged: str, head: str) -> str | None:
    """The commit of the target that the work was put on: the first parent, but where each of its commits was put there anew.
    What else landed meanwhile is no part of the work. None: that of the candidate."""
    if merged == head:
        return None
    first = common.commit_of(f"{merged}^1")
    if first is None or (there := common.commit_of(head)) is None:
        return first
    try:
        base = common.git("merge-base", there, first)
        count = int(common.git("rev-list", "--count", "--first-parent", f"{base}..{there}"))
        each = common.commit_of(f"{merged}~{count}")
        if each is None or count < 2 or same_change(common, (base, there), (first, merged)):
            return first
        return each if same_change(common, (base, there), (each, merged)) else first
    except GitFailed:
        return first


def _moved(common: Common, remote: str, landing: Landing, head: str) -> str:
    there = pushing.looked(common, remote, _record(landing, head))
    return "" if there == head else f"; somebody else pushed {head[:12]} to it"


def _check_ours(common: Common, remote: str, landing: Landing, there: str) -> None:
    """Raises NotNow."""
    if pushing.looked(common, remote, _record(landing, there)) != there:
        raise NotNow(f"{branch_of(landing)} of {remote} is taken by {there[:12]}, which is not ours", passing=False)


def _record(landing: Landing, commit: str) -> str:
    """That we pushed the commit for this submission: the remote says it to every host."""
    return f"refs/wvo/pull/{part(landing.task_id)}/{landing.number}-{landing.commit[:16]}-{commit[:16]}"


def _title(landing: Landing) -> str:
    title = redact(" ".join(landing.title.split()))[:_MOST_TITLE]
    return f'Revert "{title}"' if landing.undo else title or landing.task_id


def _body(landing: Landing) -> str:
    return (
        f"Task: {landing.task_id}\nSubmission: {landing.entry_id}\n\nIt was built on {landing.target} and verified there."
        " Merge it, and the task is done; close it, and the submission waits for a person."
    )


class _Either:
    """gh where it is logged in, else the API."""

    def __init__(self, gh: Gh, project: Project) -> None:
        self._gh = gh
        self._project = project

    def find(self, branch: str) -> PullRequest | None:
        try:
            return self._gh.find(branch)
        except NotLoggedIn:
            return self._api().find(branch)

    def open(self, branch: str, base: str, title: str, body: str) -> None:
        try:
            self._gh.open(branch, base, title, body)
        except NotLoggedIn:
            self._api().open(branch, base, title, body)

    def checks(self, found: PullRequest) -> list[Check]:
        try:
            return self._gh.checks(found)
        except NotLoggedIn:
            return self._api().checks(found)

    def _api(self) -> Api:
        if (api := Api.reached(self._project, os.environ)) is None:
            host = self._project.host
            raise NotNow(f"nobody is logged in at {host}: gh auth login --hostname {host}, or set GH_TOKEN")
        return api


def _forge(common: Common, remote: str) -> Forge:
    """Raises NotNow."""
    try:
        address = common.git("config", "--get", f"remote.{remote}.url")
    except GitFailed:
        address = ""
    project = Project.of(address)
    if project is None:
        raise NotNow(f"the remote {remote} is not a repository on GitHub; mode push needs none", passing=False)
    if host := os.environ.get("GH_HOST"):  # such as that behind a name of ssh's configuration
        project = replace(project, host=host)
    return _Either(Gh(project, common.git_dir), project)
