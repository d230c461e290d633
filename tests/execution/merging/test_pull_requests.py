"""Pull requests are opened once and followed to their end; GitHub's API on loopback and `gh` over a pipe, git for real."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.execution.merging.conftest import Field
from tests.support.github import REMOTE, TOKEN, Hub, github
from tests.support.yard import git
from wvo_mcp.execution.merging.building import built
from wvo_mcp.execution.merging.forges import Project
from wvo_mcp.execution.merging.pull_requests import branch_of, followed, requested
from wvo_mcp.execution.merging.pushing import fetched_tip
from wvo_mcp.ports.merging import Candidate, Landed, Landing, NotNow

pytestmark = pytest.mark.requirement("MERGE-6")


class Wood:
    """A clone whose remote is called github.com/shop/code, and is a folder."""

    def __init__(self, field: Field, hub: Hub) -> None:
        self.field = field
        self.hub = hub

    def landing(self, name: str = "new.py", **more: Any) -> Landing:
        return self.field.landing(self.field.work({name: "n\n"}), name.removesuffix(".py"), **more)

    def candidate(self, landing: Landing) -> Candidate:
        return built(self.field.common, landing, fetched_tip(self.field.common, "origin", "main"))

    def request(self, landing: Landing, candidate: Candidate | None = None) -> Landed:
        return requested(self.field.common, "origin", landing, candidate or self.candidate(landing))

    def waits(self, landing: Landing, *words: str, candidate: Candidate | None = None) -> NotNow:
        with pytest.raises(NotNow) as error:
            self.request(landing, candidate)
        for word in words:
            assert word in error.value.reason
        assert TOKEN not in error.value.reason
        return error.value

    def follow(self, landing: Landing) -> str | None:
        found = followed(self.field.common, "origin", landing)
        return None if found is None else found.commit


@pytest.fixture
def hub(field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    bare = tmp_path / "bare.git"
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(bare))
    with github(bare, monkeypatch) as hub:
        field.git("remote", "add", "origin", REMOTE)
        field.git("push", "-q", "origin", "main")
        yield hub


@pytest.fixture
def wood(field: Field, hub: Hub) -> Wood:
    return Wood(field, hub)


@pytest.fixture(params=["api", pytest.param("gh", marks=pytest.mark.full)])
def way(request: pytest.FixtureRequest, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """How GitHub is reached."""
    if request.param == "gh":
        hub.by_gh(tmp_path / "bin", monkeypatch)
    return request.param


@pytest.mark.parametrize("way", ["api", "gh"], indirect=True)
def test_one_is_opened_followed_and_merged(wood: Wood, hub: Hub, way: str) -> None:
    landing, main = wood.landing(), git(hub.bare, "rev-parse", "main")
    candidate = wood.candidate(landing)
    assert wood.follow(landing) is None
    first = wood.waits(landing, "https://github.com/shop/code/pull/1 is open")
    assert (first.passing, first.pull_request) == (True, "https://github.com/shop/code/pull/1")
    again = wood.waits(landing, "pull/1 is open")
    with pytest.raises(NotNow, match="pull/1 is open"):
        wood.follow(landing)

    assert again.reason == first.reason
    assert [(one["head"], one["base"], one["title"]) for one in hub.pulls] == [("wvo/new-1", "main", "Do new")]
    assert "Task: new" in hub.pulls[0]["body"]
    assert git(hub.bare, "rev-parse", "wvo/new-1") == candidate.commit
    assert git(hub.bare, "rev-parse", "main") == main

    commit = hub.merge(1)
    assert wood.follow(landing) == commit
    found = wood.request(landing)
    assert (found.commit, found.pull_request) == (commit, "https://github.com/shop/code/pull/1")
    assert (hub.argv == []) == (way == "api")
    assert all(token == f"Bearer {TOKEN}" for _, _, token in hub.asked)
    assert TOKEN not in json.dumps(hub.argv)


def test_one_whose_opening_was_not_answered_is_found(wood: Wood, hub: Hub, way: str) -> None:
    landing = wood.landing()
    hub.lost = True
    with pytest.raises(NotNow):
        wood.request(landing)
    wood.waits(landing, "pull/1 is open")
    assert len(hub.pulls) == 1


def test_a_branch_that_was_pushed_before_a_crash_is_asked_for_as_it_is(wood: Wood, hub: Hub) -> None:
    landing = wood.landing()
    first = wood.candidate(landing)
    hub.fails = [(200, {}, []), (500, {}, {"message": "oops"})]
    wood.waits(landing, "GitHub answered 500: oops")
    assert git(hub.bare, "rev-parse", branch_of(landing)) == first.commit
    wood.field.saved({"theirs.py": "t\n"})
    wood.field.git("push", "-q", "origin", "main")
    wood.waits(landing, "pull/1 is open")
    assert git(hub.bare, "rev-parse", branch_of(landing)) == first.commit


def test_a_branch_of_somebody_else_is_not_asked_for(wood: Wood, hub: Hub) -> None:
    landing = wood.landing()
    wood.field.git("push", "-q", "origin", f"{wood.field.work({'x.py': 'x'})}:refs/heads/{branch_of(landing)}")
    assert not wood.waits(landing, "which is not ours").passing
    assert hub.pulls == []


def test_one_that_a_person_closed_waits_for_a_person(wood: Wood, hub: Hub, way: str) -> None:
    landing = wood.landing()
    wood.waits(landing)
    hub.pulls[0]["state"] = "closed"
    error = wood.waits(landing, "a person closed https://github.com/shop/code/pull/1")
    assert (error.passing, error.pull_request) == (False, "https://github.com/shop/code/pull/1")
    assert len(hub.pulls) == 1


def test_commits_of_a_person_are_said(wood: Wood, hub: Hub, way: str) -> None:
    landing = wood.landing()
    wood.waits(landing)
    git(hub.bare, "update-ref", "refs/heads/wvo/new-1", git(hub.bare, "rev-parse", "main"))
    assert wood.waits(landing, "somebody else pushed").passing


def test_a_conflict_with_the_target_is_built_again(wood: Wood, hub: Hub, way: str) -> None:
    landing = wood.landing()
    wood.waits(landing)
    hub.pulls[0]["conflicts"] = True
    assert wood.follow(landing) is None
    assert wood.waits(landing, "conflicts with main").passing


def test_one_merged_elsewhere_has_not_landed(wood: Wood, hub: Hub) -> None:
    landing = wood.landing()
    wood.waits(landing)
    git(hub.bare, "branch", "other", "main")
    hub.pulls[0]["base"] = "other"
    hub.merge(1)
    assert wood.waits(landing, "is merged (into other), and main does not have it").passing


def test_one_from_a_fork_is_not_ours(wood: Wood, hub: Hub, way: str) -> None:
    landing = wood.landing()
    hub.add(branch_of(landing), "main", "Mine", "", fork=True)
    hub.pulls[0]["sha"] = "1" * 40
    wood.waits(landing, "pull/2 is open")


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1795340000"}, "rate limit is used up until"),
        (429, {"retry-after": "30"}, "rate limit is used up for 30 s"),
        (401, {}, "the token is wrong"),
        (404, {}, "may not see it"),
        (301, {}, "GitHub answered 301"),
    ],
)
def test_what_github_refuses_is_tried_again(
    wood: Wood, hub: Hub, status: int, headers: dict[str, str], words: str
) -> None:
    landing = wood.landing()
    hub.fails = [(status, headers, {"message": f"no {TOKEN}"})]
    assert wood.waits(landing, words).passing


@pytest.mark.parametrize("way", ["gh"], indirect=True)
def test_what_gh_says_is_shown_without_secrets(wood: Wood, hub: Hub, way: str) -> None:
    hub.fails = [(403, {}, {"message": f"HTTP 403: no, {TOKEN}"})]
    assert wood.waits(wood.landing(), "403").passing


@pytest.mark.parametrize("way", ["gh"], indirect=True)
def test_gh_without_a_login_leaves_it_to_the_token(
    wood: Wood, hub: Hub, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.logged_in = False
    landing = wood.landing()
    wood.waits(landing, "pull/1 is open")
    assert hub.asked
    monkeypatch.delenv("GH_TOKEN")
    assert wood.waits(landing, "gh auth login --hostname github.com, or set GH_TOKEN").passing


def test_a_token_is_not_sent_in_the_clear(wood: Wood, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_API_URL", "http://api.example.org")
    wood.waits(wood.landing(), "in the clear")


def test_a_token_of_github_goes_to_no_other_host(wood: Wood, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_API_URL")
    wood.field.git("config", "url.https://github.com/.insteadOf", "https://git.example.org/")
    candidate = wood.candidate(landing := wood.landing())
    wood.field.git("remote", "set-url", "origin", "https://git.example.org/shop/code.git")
    wood.waits(landing, "nobody is logged in at git.example.org", candidate=candidate)


def test_an_answer_that_is_no_answer_is_said(wood: Wood, hub: Hub) -> None:
    for body in ({"message": "hm"}, [{"number": 1}], [None], "x"):
        hub.fails = [(200, {}, body)]
        wood.waits(wood.landing(), "did not answer with the pull requests")


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("https://github.com/shop/code.git", "github.com/shop/code"),
        ("https://pat:secret@GitHub.com/shop/code/", "github.com/shop/code"),
        ("git@github.com:shop/code.git", "github.com/shop/code"),
        ("ssh://git@ssh.github.com:443/shop/my.code.git", "github.com/shop/my.code"),
        ("/srv/git/code.git", None),
        ("../code.git", None),
        ("file:///srv/shop/code.git", None),
        ("https://github.com/a/b/c", None),
        ("https://github.com/a/b?x", "github.com/a/b"),
        ("https://github.com/a/..%2f", None),
    ],
)
def test_addresses_of_remotes_name_projects(address: str, found: str | None) -> None:
    project = Project.of(address)
    assert (None if project is None else f"{project.host}/{project.owner}/{project.name}") == found
