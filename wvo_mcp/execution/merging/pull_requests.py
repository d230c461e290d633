"""Mode pull_request: the candidate is pushed as a branch of its own, and its pull request is followed until people merge it."""

import os
from dataclasses import replace

from wvo_mcp.domain.redaction import redact
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.merging import pushing
from wvo_mcp.execution.merging.forges import Api, Forge, Gh, NotLoggedIn, Project, PullRequest
from wvo_mcp.execution.workspaces.repository import Common, part
from wvo_mcp.ports.merging import Candidate, Landed, Landing, NotNow

_MOST_TITLE = 200


def requested(common: Common, remote: str, landing: Landing, candidate: Candidate) -> Landed:
    """Open its pull request, or follow the one that is there. Raises NotNow as long as it is not merged; Tampered."""
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
    return Landed(commit=_merged(common, remote, landing, found), pull_request=found.address)


def followed(common: Common, remote: str, landing: Landing) -> str | None:
    """The commit by which the target has it; None where there is no pull request, or it conflicts with the target. Raises
    NotNow as long as it is open, and when it was closed; Tampered."""
    found = _forge(common, remote).find(branch_of(landing))
    if found is None or (found.state == "open" and found.conflicts):
        return None
    return _merged(common, remote, landing, found)


def branch_of(landing: Landing) -> str:
    """One for each submission, so that none is ever forced."""
    return f"wvo/{part(landing.task_id)}-{landing.number}"


def _merged(common: Common, remote: str, landing: Landing, found: PullRequest) -> str:
    """Raises NotNow."""
    address = found.address
    if found.state == "merged":
        tip = pushing.fetched_tip(common, remote, landing.target)
        for commit in (found.merged_as, found.head):
            if commit is not None and common.commit_of(commit) is not None and common.contains(tip, commit):
                return commit
        where = "" if found.base == landing.target else f" (into {found.base})"
        raise NotNow(f"{address} is merged{where}, and {landing.target} does not have it", pull_request=address)
    if found.state == "closed":
        raise NotNow(f"a person closed {address} without merging it", passing=False, pull_request=address)
    moved = _moved(common, remote, landing, found.head)
    conflicts = f"; it conflicts with {landing.target}" if found.conflicts else ""
    raise NotNow(f"{address} is open{moved}{conflicts}", pull_request=address)


def _moved(common: Common, remote: str, landing: Landing, head: str) -> str:
    there = pushing.looked(common, remote, _record(landing, head))
    return "" if there == head else f"; somebody else pushed {head[:12]} to it"


def _check_ours(common: Common, remote: str, landing: Landing, there: str) -> None:
    """Raises NotNow."""
    if pushing.looked(common, remote, _record(landing, there)) != there:
        raise NotNow(f"{branch_of(landing)} of {remote} is taken by {there[:12]}, which is not ours", passing=False)


def _record(landing: Landing, commit: str) -> str:
    """That we pushed the commit: the remote says it to every host."""
    return f"refs/wvo/pull/{part(landing.task_id)}/{landing.number}-{commit[:16]}"


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
