"""One operation, three faces: the same lists, the same results, the same errors, from real processes on one store."""

import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, cast

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.support.databases import looked_at
from tests.support.stdio_client import StdioClient
from tests.support.waiting import eventually
from tests.support.workspace import Workspace, some_tasks, workspace

__all__ = ["workspace"]

pytestmark = pytest.mark.requirement("CORE-5")

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("plan_next", {"limit": 2}),
    ("get_task", {"task_id": "A"}),
    ("context_write", {"topic": "prices", "content": "again", "request_id": "same"}),
    ("plan_next", {"lmit": 3}),
    ("complete_task", {"task_id": "A", "lease_token": 99, "summary": "not mine"}),
]
MORE: list[tuple[str, dict[str, Any]]] = [
    ("list_tasks", {"status": "pending", "limit": 1}),
    ("context_read", {"topic": "prices"}),
    ("alerts", {"state": "all"}),
    ("events", {"limit": 5, "kind": "task.created"}),
    ("plan_next", {"limit": 0}),
    ("get_task", {"task_id": "NO"}),
    ("list_tasks", {"cursor": "x"}),
    ("claim_task", {"task_id": "B"}),
    ("update_task", {"task_id": "B", "depends_on": ["B"]}),
    ("alert_ack", {"alert_id": 12_345}),
    ("create_tasks", {"tasks": [{"id": "A", "title": "there already"}]}),
]
"""Results and errors; what is written is written once, for its request_id is the same."""
VOLATILE = {"expires_at", "lease_expires_at", "last_call_at", "hash", "prev_hash", "ref"}


@pytest.fixture(scope="module")
def site(place: Workspace, server: StdioClient) -> Generator[httpx2.Client]:
    """The HTTP server beside the stdio server, which has some work to tell of."""
    tasks = [
        {"id": "A", "title": "First"},
        {"id": "B", "title": "Then", "depends_on": ["A"]},
        {"id": "C", "title": "Else"},
    ]
    server.call("create_tasks", {"tasks": tasks})
    server.call("claim_task", {"task_id": "A"})
    server.call("context_write", {"topic": "prices", "content": "decimals"})
    server.call("context_write", {"topic": "prices", "content": "again", "request_id": "same"})
    with serving(place) as (process, url):
        with httpx2.Client(base_url=url, headers={"WVO-Agent-Id": "ann"}, timeout=90) as client:
            yield client
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0


class serving:
    """`wvo-mcp serve --http` in a workspace; its process and its address. `said` is the line after that."""

    def __init__(self, workspace: Workspace, *arguments: str, port: str = "0", **settings: str) -> None:
        self.log = workspace.logs / "http.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "wvo_mcp", "serve", "--http", "--port", port, *arguments],
                env=workspace.environ(**settings),
                cwd=workspace.root,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def __enter__(self) -> tuple[subprocess.Popen[bytes], str]:
        stdout = cast("IO[bytes]", self.process.stdout)
        line = stdout.readline().decode().strip()
        assert line.startswith("http"), self.log.read_text()
        self.said = stdout.readline().decode().strip()
        return self.process, line

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(10)
        cast("IO[bytes]", self.process.stdout).close()


def by_command(place: Workspace, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-m", "wvo_mcp", tool.replace("_", "-"), "--json", "--input", json.dumps(arguments)],
        env=place.environ(WVO_AGENT_ID="ann"),
        cwd=place.root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode in (0, 1), ran.stderr
    return json.loads(ran.stdout)


def steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: steady(part) for name, part in value.items() if name not in VOLATILE}
    return [steady(part) for part in value] if isinstance(value, list) else value


@pytest.mark.full_on_postgres
def test_the_three_lists_are_equal(place: Workspace, server: StdioClient, site: httpx2.Client) -> None:
    listed = [tool["name"] for tool in server.result("tools/list")["tools"]]
    routes = site.get("/api").json()["tools"]
    helped = subprocess.run(
        [sys.executable, "-m", "wvo_mcp", "--help"],
        env=place.environ(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    commands = {line.split()[0] for line in helped.splitlines() if line.startswith("  ") and line.strip()}

    assert sorted(listed) == sorted(route["tool"] for route in routes)
    assert {name.replace("_", "-") for name in listed} <= commands
    annotated = {tool["name"]: tool["annotations"]["readOnlyHint"] for tool in server.result("tools/list")["tools"]}
    assert {route["tool"]: "GET" in route["methods"] for route in routes} == annotated
    for route in routes:
        assert site.put(route["path"]).status_code == 405


@pytest.mark.full_on_postgres
@pytest.mark.full_on_postgres
@pytest.mark.parametrize(
    ("tool", "arguments"), [*CALLS, *(pytest.param(*call, marks=pytest.mark.full) for call in MORE)]
)
def test_the_same_call_gives_the_same_through_all_three(
    place: Workspace, server: StdioClient, site: httpx2.Client, tool: str, arguments: dict[str, Any]
) -> None:
    over_mcp = server.answer(tool, arguments)["structuredContent"]
    over_http = site.post(f"/api/{tool}", json=arguments)
    by_hand = by_command(place, tool, arguments)

    assert steady(over_http.json()) == steady(over_mcp) == steady(by_hand)
    assert (over_http.status_code == 200) == ("error" not in over_mcp)


@pytest.mark.full_on_postgres
@pytest.mark.requirement("HEALTH-1")
def test_a_lone_http_server_leads_and_ends_its_session_on_sigterm(workspace: Workspace) -> None:
    workspace.server("first").call("create_tasks", some_tasks("A"))  # where nothing has begun nobody leads
    workspace.started[0].end()
    with serving(workspace) as (process, url), httpx2.Client(base_url=url, timeout=90) as client:
        leader = eventually(lambda: client.get("/api/status").json()["leader"])
        assert leader["alive"]

        process.send_signal(signal.SIGINT)
        assert process.wait(90) == 0
        with looked_at(workspace.source) as database:
            assert database.column("SELECT session_id FROM sessions WHERE ended_at IS NULL AND durable = 0") == []
            assert database.column("SELECT session_id FROM leaders") == [None], "the post is free at once"
        successor = workspace.server("next", WVO_TOOLSETS="all")

        def followed() -> bool:
            now = successor.call("status")["leader"]
            return now is not None and now["session_id"] != leader["session_id"]

        eventually(followed)
    assert "Traceback" not in (workspace.logs / "http.log").read_text()


@pytest.mark.full_on_postgres
@pytest.mark.requirement("DASH-3")
def test_the_link_that_it_prints_signs_in_for_longer_than_it_lives(workspace: Workspace) -> None:
    workspace.server("first").call("create_tasks", some_tasks("A"))
    server = serving(workspace)
    with server as (process, url):
        link = server.said.partition("minutes: ")[2]
        assert link.startswith(f"{url}/login/"), server.said
        with httpx2.Client(timeout=90) as browser:
            cookie = browser.post(link).headers["set-cookie"].partition(";")[0]
            assert browser.post(link).status_code == 401
        process.kill()
        process.wait(90)
    with serving(workspace, port=url.rpartition(":")[2]) as (_, url):
        listed = httpx2.get(f"{url}/api", headers={"Cookie": cookie}, timeout=90).json()["tools"]
        assert "budget_raise" in {route["tool"] for route in listed}
    assert link.rpartition(".")[2] not in server.log.read_text()


@pytest.mark.sqlite
@pytest.mark.requirement("DASH-3", "SAFE-4")
def test_in_an_agents_shell_it_serves_and_lets_nobody_sign_in(workspace: Workspace) -> None:
    workspace.server("first").call("create_tasks", some_tasks("A"))
    server = serving(workspace, CLAUDECODE="1")
    with server as (_, url):
        assert "agent's shell" in server.said
        assert httpx2.get(f"{url}/api/status", timeout=90).status_code == 200
    with looked_at(workspace.source) as database:
        assert database.column("SELECT token_id FROM access_tokens") == []


@pytest.mark.sqlite
@pytest.mark.requirement("DASH-3")
def test_it_can_be_reached_from_elsewhere_over_tls_with_a_token(workspace: Workspace, tmp_path: Path) -> None:
    certfile, keyfile = a_certificate(tmp_path, "wvo.example")
    workspace.server("first").call("create_tasks", some_tasks("A"))
    doors = ("--host", "0.0.0.0", "--certfile", certfile, "--keyfile", keyfile, "--allow-host", "wvo.example")  # noqa: S104
    server = serving(workspace, *doors)
    made = by_command(workspace, "token_create", {"name": "ci", "role": "viewer"})
    with server as (_, url):
        port = url.rpartition(":")[2]
        assert url == f"https://0.0.0.0:{port}"
        assert f"https://wvo.example:{port}/login/" in server.said
        trusted = ssl.create_default_context(cafile=certfile)
        named = {"Host": f"wvo.example:{port}"}
        with httpx2.Client(base_url=f"https://127.0.0.1:{port}", verify=trusted, headers=named, timeout=90) as client:
            by_name = {"sni_hostname": "wvo.example"}
            assert client.get("/health", extensions=by_name).status_code == 200
            assert client.get("/api/status", extensions=by_name).status_code == 401, "it was asked for by that name"
            right = {"Authorization": f"Bearer {made['token']}"}
            assert client.get("/api/status", headers=right, extensions=by_name).status_code == 200
            signed_in = client.post("/login", data={"token": made["token"]}, extensions=by_name)
            assert "; Secure" in signed_in.headers["set-cookie"]
    assert "unencrypted" not in server.log.read_text()


@pytest.mark.sqlite
@pytest.mark.requirement("DASH-3")
def test_without_tls_it_says_that_tokens_pass_unencrypted(workspace: Workspace) -> None:
    server = serving(workspace, "--host", "0.0.0.0")  # noqa: S104
    with server as (_, url):
        near = url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        assert httpx2.get(f"{near}/api/status", timeout=90).status_code == 200
        own = own_address()
        if own is not None:
            far = url.replace("0.0.0.0", own)  # noqa: S104
            assert httpx2.get(f"{far}/health", timeout=90).status_code == 200
            assert httpx2.get(f"{far}/api/status", timeout=90).status_code == 401
    assert "unencrypted" in server.log.read_text()
    assert not workspace.database.exists(), "where nothing has begun, it makes no store"


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--host", "192.0.2.1"], 1, "cannot be listened on"),
        (["--certfile", __file__], 2, "together"),
        (["--certfile", __file__, "--keyfile", __file__], 1, "certificate"),
    ],
)
def test_what_cannot_be_served_is_said(workspace: Workspace, arguments: list[str], code: int, said: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "wvo_mcp", "serve", "--http", "--port", "0", *arguments],
        env=workspace.environ(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (ran.returncode, said in ran.stderr) == (code, True), ran.stderr
    assert "Traceback" not in ran.stderr


def own_address() -> str | None:
    """Of this machine, by which it is not loopback; None where it has no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            return str(probe.getsockname()[0])
        except OSError:
            return None


def a_certificate(folder: Path, name: str) -> tuple[str, str]:
    """The files of a certificate of this name, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return str(folder / "cert.pem"), str(folder / "key.pem")
