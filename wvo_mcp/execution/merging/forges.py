"""Pull requests on GitHub, by its program `gh` where that is logged in, else by its REST API.

A token goes in the environment or a header: never in arguments, texts or logs.
"""

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shutil import which
from typing import Any, Protocol, cast
from urllib.parse import quote, urlsplit

from wvo_mcp.domain.redaction import redact
from wvo_mcp.ports.merging import NotNow
from wvo_mcp.processes import NotStarted, Program, run_blocking

_SECONDS = 60.0
_RATE_SECONDS = 60.0
_MOST_SAID = 400
_MOST_BYTES = 1 << 22
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_NOT_LOGGED_IN = 4
"""What gh ends with when it needs a login."""
_SCP = re.compile(r"(?:[^@/:]+@)?(?P<host>[^/:]+):(?P<path>[^/].*)")
_UNFINISHED = ("queued", "in_progress", "pending", "expected", "waiting", "requested")
_UNDECIDED = ("action_required", "stale")
_FAILED = ("failure", "error", "timed_out", "startup_failure")
_FIELDS = "number,url,state,headRefOid,mergeCommit,mergeable,baseRefName,isCrossRepository"


@dataclass(frozen=True, slots=True)
class Project:
    """A repository of a forge."""

    host: str
    owner: str
    name: str

    @classmethod
    def of(cls, address: str) -> "Project | None":
        """By the address of a remote; None for a folder, or another form."""
        if "://" in address:
            parts = urlsplit(address)
            host, path = parts.hostname, parts.path
        else:
            found = _SCP.fullmatch(address)
            host, path = (found["host"], found["path"]) if found else (None, "")
        names = path.strip("/").removesuffix(".git").split("/")
        if not host or len(names) != 2 or not all(re.fullmatch(r"[\w.-]+", one, re.ASCII) for one in names):
            return None
        return cls("github.com" if host == "ssh.github.com" else host.lower(), *names)


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequest:
    """`state`: open, merged or closed. `head` is the commit that it asks to merge, `merged_as` the one that did. `conflicts`:
    the forge cannot merge it."""

    number: int
    address: str
    state: str
    head: str
    base: str
    merged_as: str | None = None
    conflicts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What a service ran on a commit. `state`: passed, pending or failed."""

    name: str
    state: str
    said: str = ""
    address: str = ""


class Denied(NotNow):
    """The token may not see it."""


class NotLoggedIn(Exception):
    """gh is missing, or nobody is logged in."""


class Forge(Protocol):
    """That of one project. Each call raises NotNow, and gh's NotLoggedIn."""

    def find(self, branch: str) -> PullRequest | None:
        """The newest from this branch of the project itself, open or not."""
        ...

    def open(self, branch: str, base: str, title: str, body: str) -> None: ...

    def checks(self, found: PullRequest) -> list[Check]:
        """Those of its head. Raises Denied, too."""
        ...


class Gh:
    """By the program."""

    def __init__(self, project: Project, folder: Path) -> None:
        self._repository = f"{project.host}/{project.owner}/{project.name}"
        self._folder = folder

    def find(self, branch: str) -> PullRequest | None:
        rows = self._run("list", "--head", branch, "--state", "all", "--limit", "50", "--json", _FIELDS)
        try:
            known = [cast("dict[str, Any]", row) for row in json.loads(rows)]
            ours = [row for row in known if not row["isCrossRepository"]]
            row = max(ours, key=lambda one: one["number"], default=None)
            return None if row is None else _of_gh(row)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise NotNow("gh did not answer with the pull requests that it was asked for") from None

    def open(self, branch: str, base: str, title: str, body: str) -> None:
        self._run("create", "--head", branch, "--base", base, "--title", title, "--body-file", "-", content=body)

    def checks(self, found: PullRequest) -> list[Check]:
        told = self._run("view", str(found.number), "--json", "statusCheckRollup")
        try:
            rows = cast("list[dict[str, Any]]", json.loads(told)["statusCheckRollup"] or [])
            newest: dict[tuple[str, str], dict[str, Any]] = {}
            for row in sorted(
                rows, key=lambda one: str(one.get("startedAt") or "")
            ):  # one that ran again is there twice
                newest[str(row.get("workflowName") or ""), str(row.get("name") or row.get("context"))] = row
            return [_check_of_gh(row) for row in newest.values()]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise NotNow("gh did not answer with the checks that it was asked for") from None

    def _run(self, *arguments: str, content: str = "") -> bytes:
        if (program := which("gh")) is None:
            raise NotLoggedIn
        env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        env |= {"GH_PROMPT_DISABLED": "1", "GH_NO_UPDATE_NOTIFIER": "1", "NO_COLOR": "1"}
        asked = Program(
            argv=(program, "pr", *arguments, "--repo", self._repository),
            env=env,
            cwd=self._folder,
            stdin=content.encode(errors="replace"),
            deadline=_SECONDS,
            output=_MOST_BYTES,
            ends_with_us=True,
        )
        try:
            ended = run_blocking(asked, keep=_MOST_BYTES)
        except NotStarted as error:
            raise NotNow(f"gh cannot be started: {error}") from None
        if ended.limit is not None:
            raise NotNow("gh took too long or wrote too much")
        if ended.code == _NOT_LOGGED_IN:
            raise NotLoggedIn
        if ended.code:
            said = _shown(ended.stderr.decode(errors="replace"))
            why = f"gh pr {arguments[0]} failed: {said}"
            if "Resource not accessible" in said:
                raise Denied(why)
            raise NotNow(why, seconds=_RATE_SECONDS if "rate limit" in said else 0)
        return ended.stdout


class Api:
    """By HTTP."""

    def __init__(self, project: Project, address: str, token: str) -> None:
        self._project = project
        self._address = address.rstrip("/")
        self._token = token

    @classmethod
    def reached(cls, project: Project, environ: Mapping[str, str]) -> "Api | None":
        """Where the environment has its token. Raises NotNow: it would be sent in the clear."""
        public = project.host == "github.com" or project.host.endswith(".ghe.com")
        address = environ.get("GITHUB_API_URL")
        names = ["GH_TOKEN", "GITHUB_TOKEN"] if public or address or environ.get("GH_HOST") == project.host else []
        names += [] if public else ["GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN"]
        token = next((environ[name] for name in names if environ.get(name)), None)
        if token is None:
            return None
        host = project.host
        address = address or (f"https://api.{host}" if public else f"https://{host}/api/v3")
        parts = urlsplit(address)
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            raise NotNow(
                f"{parts.scheme}://{parts.hostname} would get a token in the clear: set GITHUB_API_URL to https"
            )
        return cls(project, address, token)

    def find(self, branch: str) -> PullRequest | None:
        head = quote(f"{self._project.owner}:{branch}", safe="")
        rows = self._asked("GET", f"pulls?head={head}&state=all&per_page=100")
        try:
            ours = [row for row in cast("list[dict[str, Any]]", rows) if self._is_ours(row, branch)]
            newest = max((row["number"] for row in ours), default=None)
            if newest is None:
                return None
            return _of_rest(cast("dict[str, Any]", self._asked("GET", f"pulls/{int(newest)}")))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise NotNow("GitHub did not answer with the pull requests that it was asked for") from None

    def open(self, branch: str, base: str, title: str, body: str) -> None:
        self._asked("POST", "pulls", {"title": title, "head": branch, "base": base, "body": body})

    def checks(self, found: PullRequest) -> list[Check]:
        runs = self._asked("GET", f"commits/{found.head}/check-runs?per_page=100")
        statuses = self._asked("GET", f"commits/{found.head}/status?per_page=100")
        try:
            listed = [
                _check(one["name"], one["status"], one["conclusion"], one["output"], one["html_url"])
                for one in cast("list[dict[str, Any]]", runs["check_runs"])
            ]
            return listed + [
                _check(one["context"], one["state"], one["state"], {"title": one["description"]}, one["target_url"])
                for one in cast("list[dict[str, Any]]", statuses["statuses"])
            ]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise NotNow("GitHub did not answer with the checks that it was asked for") from None

    def _is_ours(self, row: Mapping[str, Any], branch: str) -> bool:
        head, base = row["head"], row["base"]
        same = head["repo"] is not None and head["repo"]["full_name"] == base["repo"]["full_name"]
        return same and head["ref"] == branch

    def _asked(self, method: str, path: str, content: Mapping[str, Any] | None = None) -> Any:
        import httpx2  # few projects open pull requests

        parts = urlsplit(self._address)
        address = f"{self._address}/repos/{self._project.owner}/{self._project.name}/{path}"
        headers = {
            "accept": "application/vnd.github+json",
            "x-github-api-version": "2022-11-28",
            "user-agent": "wvo-mcp",
            "authorization": f"Bearer {self._token}",
        }
        try:
            with httpx2.Client(
                trust_env=parts.hostname not in _LOOPBACK, follow_redirects=False, timeout=_SECONDS,
                verify=parts.scheme == "https",
            ) as client:  # fmt: skip
                answer = client.request(method, address, json=content, headers=headers)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise NotNow(f"GitHub cannot be reached: {type(error).__name__}") from None
        if answer.status_code >= 300:
            raise _refused(answer.status_code, answer.headers, answer.text)
        try:
            return answer.json()
        except ValueError:
            raise NotNow("GitHub did not answer in JSON") from None


def _of_gh(row: Mapping[str, Any]) -> PullRequest:
    return PullRequest(
        number=int(row["number"]),
        address=_address(row["url"]),
        state=row["state"].lower(),
        head=row["headRefOid"],
        base=row["baseRefName"],
        merged_as=row["mergeCommit"]["oid"] if row["mergeCommit"] else None,
        conflicts=row["mergeable"] == "CONFLICTING",
    )


def _check_of_gh(row: Mapping[str, Any]) -> Check:
    if "context" in row:
        said = {"title": row.get("description")}
        return _check(row["context"], row["state"], row["state"], said, row.get("targetUrl"))
    return _check(row["name"], row["status"], row["conclusion"], None, row.get("detailsUrl"))


def _check(name: Any, status: Any, conclusion: Any, output: Any, address: Any) -> Check:
    """Who is cancelled, or was skipped, says nothing of the work."""
    ended, how = str(status).lower() not in _UNFINISHED, str(conclusion).lower()
    state = "failed" if how in _FAILED else "pending" if not ended or how in _UNDECIDED else "passed"
    texts = [str(output[key]) for key in ("title", "summary") if output.get(key)] if output else []
    shown = str(address) if re.fullmatch(r"https?://[!-~]{1,300}", str(address)) else ""
    return Check(name=_shown(str(name)), state=state, said=_shown(": ".join(texts)), address=shown)


def _of_rest(row: Mapping[str, Any]) -> PullRequest:
    merged = row["merged_at"] is not None
    return PullRequest(
        number=int(row["number"]),
        address=_address(row["html_url"]),
        state="merged" if merged else row["state"],
        head=row["head"]["sha"],
        base=row["base"]["ref"],
        merged_as=row["merge_commit_sha"] if merged else None,
        conflicts=row["mergeable"] is False,
    )


def _address(value: Any) -> str:
    if not re.fullmatch(r"https?://[!-~]{1,300}", value):
        raise ValueError
    return value


def _refused(status: int, headers: Mapping[str, str], text: str) -> NotNow:
    wait = headers.get("retry-after")
    if status in (403, 429) and (wait is not None or headers.get("x-ratelimit-remaining") == "0" or status == 429):
        reset = headers.get("x-ratelimit-reset", "")
        until = (
            f" until {datetime.fromtimestamp(int(reset), UTC):%H:%M} UTC" if re.fullmatch(r"\d{1,11}", reset) else ""
        )
        left = int(reset) - time.time() if until else _RATE_SECONDS
        if wait is not None and re.fullmatch(r"\d{1,6}", wait):
            until, left = f" for {wait} s", int(wait)
        return NotNow(f"GitHub's rate limit is used up{until}", seconds=max(left, 1.0))
    try:
        found: Any = json.loads(text)
        errors = cast("list[Any]", found.get("errors") or [])
        said = ": ".join(str(one["message"]) for one in (found, *errors) if "message" in one)
    except (ValueError, AttributeError, TypeError, KeyError):
        said = ""
    hint = {
        401: " (the token is wrong or has expired)",
        404: " (the repository is not there, or the token may not see it)",
    }.get(status, "")
    kind = Denied if status in (403, 404) else NotNow
    return kind(f"GitHub answered {status}{hint}{': ' if said else ''}{_shown(said)}")


def _shown(text: str) -> str:
    plain = "".join(c if c.isprintable() else " " for c in redact(text.strip()))
    return plain if len(plain) <= _MOST_SAID else f"{plain[:_MOST_SAID]}..."
