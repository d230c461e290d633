"""Several projects of one server, as a process: each whole below its prefix, and apart from the others."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx2
import pytest

from tests.faces.http.two_projects import (
    ANSWERED,
    IDS,
    MARK,
    ROLES,
    every_get,
    given_to,
    mcp_calls,
    pages,
    plant,
    plant_work,
)
from tests.faces.mcp.over_http import HELLO
from tests.support import forked
from tests.support.serving import PATIENCE_SECONDS, Served, command, environ_of
from wvo_mcp.domain.access import Kind, Shown
from wvo_mcp.operations import ALL, Effect

pytestmark = [pytest.mark.sqlite, pytest.mark.requirement("CORE-15", "DASH-3"), pytest.mark.timeout(300)]


@dataclass
class Two:
    """Projects a and b on one server that asks everybody for a token; every text of b has the mark."""

    server: Served
    roots: dict[str, Path]
    tokens: dict[tuple[str, str], str]

    def client(self, project: str | None = None, role: str = "admin", **headers: str) -> httpx2.Client:
        shown = {} if project is None else {"authorization": f"Bearer {self.tokens[project, role]}"}
        return httpx2.Client(base_url=self.server.base, headers={**shown, **headers}, timeout=30)

    def signed_in(self, project: str) -> httpx2.Client:
        browser = self.client(accept="text/html")
        made = browser.post(f"/p/{project}/login", data={"token": self.tokens[project, "admin"]})
        assert (made.status_code, made.headers["location"]) == (303, f"/p/{project}/")
        return browser


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    folder = tmp_path_factory.mktemp("several")
    home, roots = folder / "home", {name: folder / name for name in "ab"}
    home.mkdir()
    tokens: dict[tuple[str, str], str] = {}
    for name, root in roots.items():
        root.mkdir()
        for role in ROLES:
            tokens[name, role] = command(root, home, "token", "create", f"{name}-{role}", "--role", role)["token"]
    with Served(home, "--require-token", projects=roots) as server:
        found = Two(server, roots, tokens)
        with found.client("b", "agent") as client:
            plant(client)
        anyio.run(plant_work, roots["b"])
        with found.client("a") as client:
            made = client.post("/p/a/api/create_tasks", json={"tasks": [{"id": "T-A1", "title": "of a"}]})
            assert made.status_code == 200
        yield found


def begun(client: httpx2.Client, address: str) -> tuple[int, str]:
    """The status of a stream and what it says at first."""
    with client.stream("GET", address) as answer:
        said = ""
        for part in answer.iter_text():
            said += part
            if answer.status_code != 200 or "\n\n" in said:
                break
        return answer.status_code, said


def all_that_is_said(two: Two, client: httpx2.Client) -> str:
    """Everything that this client is answered, at both projects and outside of them."""
    said: list[str] = []
    for accept in ("text/html", "*/*"):
        for address in ("/", "/index.json", "/health", *every_get("a"), *every_get("b")):
            answer = client.get(address, headers={"accept": accept})
            said.append(f"{answer.headers} {answer.text}")
    for name in "ab":
        views = ("", "?after=0", *(f"?page={page.replace('/', '%2F')}" for page in pages()))
        said += [begun(client, f"/p/{name}/stream{one}")[1] for one in views]
        said.append(client.post(f"/p/{name}/mcp", json=HELLO, headers=ANSWERED).text)
        said += [client.post(f"/p/{name}/mcp", json=body, headers=more).text for body, more in mcp_calls()]
        for op in ALL.values():
            if op.effect is not Effect.READ:
                asked = given_to(op)
                said.append(client.post(f"/p/{name}/api/{op.name}", json=asked).text)
                said.append(client.post(f"/p/{name}/do/{op.name}", data={**asked, "confirmed": "yes"}).text)
    return "\n".join(said)


def test_each_project_is_whole_below_its_prefix(two: Two) -> None:
    with closing(two.signed_in("b")) as browser:
        for page in pages():
            html = browser.get(f"/p/b{page}").text
            linked = re.findall(r'(?:href|action|src|hx-post|hx-sse:connect|data-source|data-layout)="(/[^"]*)"', html)
            assert linked
            assert [one for one in linked if not one.startswith("/p/b/")] == [], page
            for one in {one for one in linked if "/static/" in one}:
                assert browser.get(one).status_code == 200
    with two.client("b") as program:
        assert MARK in program.get("/p/b/tasks/T-B1.json").text
        assert MARK in program.get("/p/b/api/get_task?task_id=T-B1").text
        assert MARK in begun(program, "/p/b/stream?page=%2Ftasks%2FT-B1")[1]
        assert begun(program, "/p/b/stream?after=0")[0] == 200
        assert '"serverInfo"' in program.post("/p/b/mcp", json=HELLO, headers=ANSWERED).text
        assert program.get("/p/b/health").status_code == 200


def test_redirects_keep_the_prefix(two: Two) -> None:
    with closing(two.signed_in("b")) as browser:
        csrf = Shown.parse(Kind.SESSION, browser.cookies[f"wvo_session_{two.server.port}_b"])
        assert csrf is not None
        form = {"csrf": csrf.csrf, "message_ids": "nothing", "back": "/tasks?status=done", "confirmed": "yes"}
        problem = browser.post("/p/b/do/message_ack", data=form)
        assert '"/p/b/"' in problem.text
        done = browser.post("/p/b/do/health_run", data={"csrf": csrf.csrf, "back": "/tasks?status=done"})
        assert (done.status_code, done.headers["location"]) == (303, "/p/b/tasks?status=done&did=health_run")
        asked = browser.post("/p/b/do/pause", data={"csrf": csrf.csrf, "back": "/tasks"})
        assert 'action="/p/b/do/pause"' in asked.text
        slash = browser.get("/p/b/tasks/")
        assert slash.headers.get("location", "/p/b/tasks").endswith("/p/b/tasks")
        out = browser.post("/p/b/logout", data={"csrf": csrf.csrf})
        assert (out.status_code, out.headers["location"]) == (303, "/p/b/")
        assert 'action="/p/b/login"' in browser.get("/p/b/").text
    with two.client() as stranger:
        assert stranger.get("/p/b").headers["location"] == f"{two.server.base}/p/b/"


def test_the_link_of_each_project_signs_in_to_that_one(two: Two) -> None:
    links = dict(re.findall(r"^(\w+): Sign in.*?(http://\S+)", "\n".join(two.server.lines), re.MULTILINE))
    if not links:
        links = {
            name: command(root, two.server.home, "login-link", "--address", f"{two.server.base}/p/{name}")["address"]
            for name, root in two.roots.items()
        }
    assert [*links] == ["a", "b"]
    with two.client(accept="text/html") as browser:
        for name, link in links.items():
            assert link.startswith(f"{two.server.base}/p/{name}/login/")
            other = link.replace(f"/p/{name}/", "/p/b/" if name == "a" else "/p/a/")
            assert browser.post(other).status_code in (401, 429)  # other tests may have guessed before
            assert browser.post(link).headers["location"] == f"/p/{name}/"
        page = browser.get("/").text
        assert MARK in page
        assert "You are not signed in here" not in page


SHOWN = [
    "admin", "cookie as b's", "nothing", *(pytest.param(one, marks=pytest.mark.full) for one in (*ROLES[:3], "cookie"))
]  # fmt: skip


@pytest.mark.parametrize("shown", SHOWN)
def test_who_is_let_into_a_is_never_told_anything_of_b(two: Two, shown: str) -> None:
    client = two.client() if shown == "nothing" else two.signed_in("a") if "cookie" in shown else two.client("a", shown)
    if shown == "cookie as b's":
        client.cookies.set(f"wvo_session_{two.server.port}_b", client.cookies[f"wvo_session_{two.server.port}_a"])
    with closing(client):
        assert MARK not in all_that_is_said(two, client)
        assert client.get("/p/a/api").status_code == (401 if shown == "nothing" else 200)
        assert client.get("/p/b/api").status_code in (401, 429)


def test_the_marks_are_seen_by_who_is_let_into_b(two: Two) -> None:
    with two.client("b") as client:
        seen = [one for one in every_get("b") if MARK in client.get(one).text]
        pages_seen = [one for one in pages() if f"/p/b{one}" in seen]
        wanted = (
            "/",
            "/tasks",
            "/tasks/{task_id}",
            "/approvals",
            "/alerts",
            "/workers",
            "/workers/{worker_id}",
            "/merge",
        )
        more = ("/merge/{entry_id}", "/reviews", "/events")
        assert {one.format_map(IDS) for one in (*wanted, *more)} <= {*pages_seen}
        assert len(seen) > 40, seen
        reads = [one for one in every_get("b") if "/api/" in one]
        answered = [one for one in reads if client.get(one).status_code == 200]
        assert len(answered) >= 0.8 * len(reads), {*reads} - {*answered}
        calls = [(body, client.post("/p/b/mcp", json=body, headers=more).text) for body, more in mcp_calls()]
        done = [body for body, said in calls if '"isError":true' not in said and '"result"' in said]
        assert len(done) >= 0.8 * len(calls), [body["params"].get("name") for body, _ in calls if body not in done]
        assert sum(MARK in said for _, said in calls) > 8


def test_a_token_of_another_project_is_a_wrong_one(two: Two) -> None:
    with two.client("a", "viewer") as client:
        statuses = [client.get("/p/b/api").status_code for _ in range(12)]
        assert {*statuses} <= {401, 429}
        assert statuses[-1] == 429
        assert client.get("/p/a/api").status_code == 200
    with two.client("b", "viewer") as client:
        assert client.get("/p/b/api").status_code == 200, "a right one is taken meanwhile"


def test_the_overview_shows_of_each_what_that_project_answers(two: Two) -> None:
    with two.client("b", "viewer", accept="text/html") as client:
        page = client.get("/")
        assert page.status_code == 200
        assert re.findall(r'id="project-(\w)"', page.text) == ["a", "b"]
        assert page.text.count("You are not signed in here") == 1
        assert MARK in page.text
        rows = client.get("/index.json").json()["projects"]
        assert [(row["name"], row["address"]) for row in rows] == [("a", "/p/a/"), ("b", "/p/b/")]
        assert rows[0]["status"] in (401, 429)
        assert [*rows[0]] == ["name", "address", "status"]
        assert rows[1]["counts"] == client.get("/p/b/index.json").json()["counts"]
        assert rows[1]["needs_count"] >= 1
    with two.client() as stranger:
        health = stranger.get("/health")
        assert (health.status_code, health.json()["projects"]) == (200, {"a": 200, "b": 200})


@pytest.mark.parametrize("path", ["/", "/p", "/p/", "/p/a", "/p/nothing", "/p/nothing/", "/p/nothing/api", "/nothing"])
def test_what_is_of_no_project_is_guarded_as_they_are(two: Two, path: str) -> None:
    with two.client() as client:
        refused = client.get(path, headers={"host": "evil.example"})
        assert refused.status_code == 403
        assert client.get(path, headers={"origin": "https://evil.example"}).status_code == 403
        answer = client.get(path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "evil" not in answer.headers.get("location", "")
        assert client.post(path).status_code in (307, 404, 405)


@pytest.mark.parametrize("path", ["/", "/index.json", "/health", "/nothing"])
def test_a_token_has_no_place_in_an_address_of_no_project_either(two: Two, path: str) -> None:
    token = two.tokens["a", "admin"]
    with two.client() as client:
        refused = client.get(f"{path}?token={token}")
    assert refused.status_code == 400, refused.text
    assert f"wvo-mcp token revoke {token.split('_')[1]}" in refused.text


def test_sigterm_ends_all_of_them_within_seconds(tmp_path: Path) -> None:
    roots = {name: tmp_path / name for name in ("x", "y", "z.1")}
    for root in roots.values():
        root.mkdir()
    with Served(tmp_path / "home", projects=roots) as server, httpx2.Client(base_url=server.base) as client:
        made = client.post("/p/x/api/create_tasks", json={"tasks": [{"id": "T1", "title": "one"}]})
        assert made.status_code == 200
        assert client.get("/p/z.1/").status_code == 200
        assert [(roots[name] / "state" / "state.db").exists() for name in roots] == [True, False, False]
        with client.stream("GET", "/p/x/stream?after=0") as stream:
            assert stream.status_code == 200
            assert server.end() < 10
        assert server.process.returncode == 0
    assert "Traceback" not in server.log.read_text()


def started(home: Path, *words: str, **settings: str) -> tuple[int, str]:
    home.mkdir(exist_ok=True)
    command = ["wvo_mcp", "serve", "--http", "--port", "0", *words]
    done = forked.run(command, cwd=home, env=environ_of(home, **settings), timeout=PATIENCE_SECONDS)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("a", ""), "NAME=PATH"),
        (("a=", ""), "NAME=PATH"),
        (("../x=.", ""), "NAME=PATH"),
        (("a/b=.", ""), "NAME=PATH"),
        (("a=.", "a=x"), "given twice"),
        (("a=nowhere", ""), "there is no folder nowhere"),
    ],
)
def test_a_project_that_cannot_be_meant_is_a_wrong_use(tmp_path: Path, given: tuple[str, str], said: str) -> None:
    words = [word for one in given if one for word in ("--project", one)]
    status, errors = started(tmp_path / "home", *words)
    assert (status, said in errors) == (2, True), errors
    assert "Traceback" not in errors


def test_two_names_for_one_store_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    status, errors = started(tmp_path / "home", "--project", f"a={tmp_path / 'a'}", "--project", f"b={tmp_path}/link")
    assert (status, "b and a have the same store" in errors) == (1, True), errors


def test_a_broken_project_stops_the_start_and_is_named(tmp_path: Path) -> None:
    for name in ("good", "broken"):
        (tmp_path / name / "state").mkdir(parents=True)
    (tmp_path / "broken" / "state" / "state.db").write_bytes(b"no database" * 1_000)
    words = [word for name in ("good", "broken") for word in ("--project", f"{name}={tmp_path / name}")]
    status, errors = started(tmp_path / "home", *words)
    assert (status, "broken" in errors, "Traceback" in errors) == (1, True, False), errors


def test_each_project_has_the_settings_of_its_own_file(tmp_path: Path) -> None:
    roots = {name: tmp_path / name for name in "ab"}
    for name, root in roots.items():
        (root / "state").mkdir(parents=True)
        (root / "state" / "settings.yaml").write_text(f"wip_limit: ${{LIMIT_{name.upper()}}}\n")
    with Served(tmp_path / "home", projects=roots, LIMIT_A="3", LIMIT_B="7") as server:
        limits = [httpx2.get(f"{server.base}/p/{name}/index.json").json()["wip_limit"] for name in "ab"]
    assert limits == [3, 7]
    words = [word for name in "ab" for word in ("--project", f"{name}={roots[name]}")]
    status, errors = started(tmp_path / "home", *words, LIMIT_A="3", LIMIT_B="no number")
    assert (status, "b=" in errors, "no number" in errors) == (2, True, False), errors


def test_events_of_one_are_not_streamed_to_another(tmp_path: Path) -> None:
    roots = {name: tmp_path / name for name in "ab"}
    for root in roots.values():
        root.mkdir()
    with Served(tmp_path / "home", projects=roots) as server, httpx2.Client(base_url=server.base, timeout=30) as client:
        for name in "ab":
            given = {"tasks": [{"id": f"T-{name}", "title": "one"}]}
            assert client.post(f"/p/{name}/api/create_tasks", json=given).status_code == 200
        said = begun(client, "/p/a/stream?page=%2Fevents")[1]
        assert ("T-a" in said, "T-b" in said) == (True, False)
        events = client.get("/p/a/api/events?after=0").json()["events"]
        assert "T-b" not in json.dumps(events)
