"""What is sent to a server by who means it harm: over raw sockets of loopback, bounded in count and time."""

import re
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx2
import pytest

from tests.support.serving import Served, command
from wvo_mcp.domain.access import MOST_HERE
from wvo_mcp.faces.http import stream
from wvo_mcp.faces.http.guard import BODY_BYTES
from wvo_mcp.faces.http.pages import PAGES

pytestmark = [pytest.mark.sqlite, pytest.mark.requirement("CORE-15", "DASH-3", "DASH-5"), pytest.mark.timeout(240)]

HOST = "Host: 127.0.0.1"
MARK = "SECRETOFTHEFILE"
SECONDS = 20.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("attacked")
    roots = {name: folder / name for name in "ab"}
    for root in roots.values():
        (root / "state").mkdir(parents=True)
        (root / "state" / "secret.txt").write_text(MARK)
        (root / "secret.json").write_text(MARK)
    with Served(folder / "home", projects=roots) as server:
        yield server
        assert server.process.poll() is None, "it lives on"
    said = server.log.read_text(errors="replace")
    assert "Traceback" not in said, said[said.index("Traceback") :][:3_000]


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Served]:
    """A server that waits for a head or a body for a second only."""
    (tmp_path / "a" / "state").mkdir(parents=True)
    waits = {"wvo_mcp.faces.http.wire.HEAD_SECONDS": 1.0, "wvo_mcp.faces.http.guard.BODY_SECONDS": 1.0}
    with Served(tmp_path / "home", projects={"a": tmp_path / "a"}, constants=waits) as server:
        yield server


def asked(server: Served, *parts: bytes, seconds: float = SECONDS) -> bytes:
    """All that comes back, until the server closes or for a moment says nothing more."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as one:
        for part in parts:
            try:
                one.sendall(part)
            except OSError:  # it was closed meanwhile
                break
        return rest_of(one, seconds)


def rest_of(one: socket.socket, seconds: float = SECONDS, quiet: float = 1.0) -> bytes:
    said, until = b"", time.monotonic() + seconds
    while time.monotonic() < until:
        ready, _, _ = select.select([one], [], [], quiet if said else seconds)
        if not ready:
            break
        try:
            part = one.recv(65_536)
        except ConnectionError:
            break
        if not part:
            break
        said += part
    return said


def head(first: str, *lines: str, host: str = HOST) -> bytes:
    return "\r\n".join([first, host, *lines, "", ""]).encode("latin-1")


def statuses(said: bytes) -> list[int]:
    return [int(one) for one in re.findall(rb"HTTP/1\.1 (\d{3}) ", said)]


def lives(server: Served) -> bool:
    return statuses(asked(server, head("GET /health HTTP/1.1", "Connection: close"))) == [200]


HIDDEN = "GET /p/a/api/status HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "
SHAPES = {
    "CL and TE": head("POST /p/a/api/status HTTP/1.1", "Content-Length: 5", "Transfer-Encoding: chunked")
    + b"0\r\n\r\n"
    + HIDDEN.encode(),
    "TE and CL": head("POST /p/a/api/status HTTP/1.1", "Transfer-Encoding: chunked", "Content-Length: 6")
    + b"0\r\n\r\n"
    + HIDDEN.encode(),
    "CL twice": head("POST /p/a/api/status HTTP/1.1", "Content-Length: 0", "Content-Length: 40") + HIDDEN.encode(),
    "CL list": head("POST /p/a/api/status HTTP/1.1", "Content-Length: 0, 40") + HIDDEN.encode(),
    "CL signed": head("POST /p/a/api/status HTTP/1.1", "Content-Length: +0") + HIDDEN.encode(),
    "CL hex": head("POST /p/a/api/status HTTP/1.1", "Content-Length: 0x0") + HIDDEN.encode(),
    "CL underscore": head("POST /p/a/api/status HTTP/1.1", "Content-Length: 1_0") + HIDDEN.encode(),
    "space before colon": head("POST /p/a/api/status HTTP/1.1", "Content-Length : 40") + HIDDEN.encode(),
    "TE space before colon": head("POST /p/a/api/status HTTP/1.1", "Transfer-Encoding : chunked") + b"0\r\n\r\n",
    "obs-fold": head("POST /p/a/api/status HTTP/1.1", "X: y", " Content-Length: 40") + HIDDEN.encode(),
    "folded TE": head("POST /p/a/api/status HTTP/1.1", "Transfer-Encoding:", "\tchunked") + b"0\r\n\r\n",
    "bare LF in a header": head("POST /p/a/api/status HTTP/1.1", "X: y\nTransfer-Encoding: chunked") + b"0\r\n\r\n",
    "bare LF at the end": b"GET /p/a/api/status HTTP/1.1\nHost: 127.0.0.1\n\n" + HIDDEN.encode(),
    "bare CR": head("GET /p/a/api/status HTTP/1.1", "X: y\rContent-Length: 40") + HIDDEN.encode(),
    "NUL in a header": head("GET /p/a/api/status HTTP/1.1", "X: y\0z"),
    "absolute form": head("GET http://127.0.0.1/p/a/api/status HTTP/1.1"),
    "absolute form of another": head("GET http://evil.example/p/a/ HTTP/1.1"),
    "authority form": head("CONNECT evil.example:80 HTTP/1.1"),
    "asterisk form": head("OPTIONS * HTTP/1.1"),
    "no slash": head("GET p/a/ HTTP/1.1"),
    "host twice": head("GET /p/a/ HTTP/1.1", "Host: evil.example"),
    "no host": b"GET /p/a/ HTTP/1.1\r\nX: y\r\n\r\n",
    "HTTP/1.0 with TE": head("POST /p/a/api/status HTTP/1.0", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /p/a/\r\n\r\n",
    "another version": head("GET /p/a/ HTTP/3.7"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 40 + b"\r\n\r\n",
    "two spaces": head("GET  /p/a/ HTTP/1.1"),
    "space in the target": head("GET /p/a/ /x HTTP/1.1"),
    **{
        f"TE {one!r}": head("POST /p/a/api/status HTTP/1.1", f"Transfer-Encoding:{one}")
        + b"0\r\n\r\n"
        + HIDDEN.encode()
        for one in (
            " xchunked",
            " chunked, identity",
            " identity, chunked",
            " chunked, chunked",
            " \x0bchunked",
            "\0chunked",
        )
    },
    "TE twice": head("POST /p/a/api/status HTTP/1.1", "Transfer-Encoding: chunked", "Transfer-Encoding: x")
    + b"0\r\n\r\n"
    + HIDDEN.encode(),
    "300 lines": head("GET /p/a/api/status HTTP/1.1", *(f"X-{number}: y" for number in range(300))),
    "10,000 lines": head("GET /p/a/api/status HTTP/1.1", *("X:" for _ in range(10_000))),
    "a huge line": head("GET /p/a/api/status HTTP/1.1", "X: " + "y" * 200_000),
    "a huge target": head(f"GET /p/a/{'y' * 200_000} HTTP/1.1"),
}
CHUNKS = {
    "size signed": b"+0\r\n\r\n",
    "size with 0x": b"0x0\r\n\r\n",
    "size negative": b"-1\r\n\r\n",
    "size with a space": b" 2\r\n{}\r\n0\r\n\r\n",
    "size ended by LF": b"2\n{}\n0\n\n",
    "extension with LF": b"2;x=\n\r\n{}\r\n0\r\n\r\n",
    "more than its size": b"1\r\n{}\r\n0\r\n\r\n",
    "a huge extension": b"2;" + b"x" * 200_000,
}


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_what_some_would_read_otherwise_is_refused_and_closed(served: Served, shape: str) -> None:
    said = asked(served, SHAPES[shape] + head("GET /health HTTP/1.1"))
    assert statuses(said) == [400] or (said == b"" and len(SHAPES[shape]) > 100_000), said[:500]
    assert lives(served)


@pytest.mark.parametrize("shape", sorted(CHUNKS))
def test_a_chunk_that_some_would_read_otherwise_ends_the_connection(served: Served, shape: str) -> None:
    first = head("POST /p/a/api/status HTTP/1.1", "Content-Type: application/json", "Transfer-Encoding: chunked")
    said = asked(served, first + CHUNKS[shape] + head("GET /health HTTP/1.1"))
    assert len(statuses(said)) <= 1
    assert 200 not in statuses(said)
    assert lives(served)


def test_a_chunk_of_a_huge_size_is_waited_for_no_longer_than_any_body(hasty: Served) -> None:
    first = head("POST /p/a/api/status HTTP/1.1", "Content-Type: application/json", "Transfer-Encoding: chunked")
    said = asked(hasty, first + b"f" * 17 + b"\r\n{}" + head("GET /health HTTP/1.1"))
    assert statuses(said) == [408], said[:300]
    assert lives(hasty)


def test_requests_in_a_row_are_answered_in_their_order(served: Served) -> None:
    rows = [head("GET /health HTTP/1.1"), head("GET /nothing HTTP/1.1"), head("GET /index.json HTTP/1.1")] * 10
    said = asked(served, b"".join(rows) + head("GET /nothing HTTP/1.1", "Connection: close"))
    assert statuses(said) == [200, 404, 200] * 10 + [404]


def test_after_what_ends_a_connection_nothing_more_is_answered(served: Served) -> None:
    two = head("GET /health HTTP/1.0", "Connection: keep-alive") + head("GET /health HTTP/1.1")
    assert statuses(asked(served, two)) == [200]
    two = head("GET /health HTTP/1.1", "Connection: close") + head("GET /health HTTP/1.1")
    assert statuses(asked(served, two)) == [200]


def test_no_connection_becomes_another_protocol(served: Served) -> None:
    upgrades = ["websocket", "h2c", "TLS/1.0"]
    keys = ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", "HTTP2-Settings: AAMAAABk"]
    for one in upgrades:
        for path in ("/", "/p/a/", "/p/a/mcp", "/p/a/stream?after=0"):
            first = head(f"GET {path} HTTP/1.1", "Connection: Upgrade, close", f"Upgrade: {one}", *keys)
            with socket.create_connection(("127.0.0.1", served.port), timeout=SECONDS) as client:
                client.sendall(first)
                assert b"HTTP/1.1 101" not in client.recv(65_536)


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "GE T", "get"])
def test_other_methods_read_and_do_nothing(served: Served, method: str) -> None:
    for path in ("/", "/p/a/", "/p/a/mcp", "/p/a/api/status", "/p/a/do/pause", "/p/a/stream?after=0", "/p/a/login"):
        lines = ("Origin: http://127.0.0.1", "Access-Control-Request-Method: POST", "X-Secret: told-back")
        said = asked(served, head(f"{method} {path} HTTP/1.1", *lines, "Connection: close"))
        assert len(statuses(said)) == 1, (path, said[:300])
        body = said.partition(b"\r\n\r\n")[2]
        assert b"access-control-" not in said.lower()
        assert b"told-back" not in said, "TRACE is not answered"
        if method == "HEAD":
            assert body == b""
        else:
            assert statuses(said)[0] in (400, 403, 404, 405), (path, said[:300])


PARTS = [
    "..", "../..", "%2e%2e", "%2e%2e%2f%2e%2e", "..%2f", "..%5c..%5c", "..\\..", "%252e%252e%252f", "%00", "x%00.json",
    "%c0%ae%c0%ae%c0%af", "%e0%80%ae", "..;/", ".%2e/", "%2f%2fetc%2fpasswd", "/etc/passwd", "....//", "%uff0e", "%ff",
    "secret.json", "state%2fsecret.txt", "..%2f..%2fstate%2fsecret.txt", "%2e%2e/%2e%2e/state/secret.txt", "%0d%0aX:%20y",
]  # fmt: skip


def places() -> list[str]:
    """Each part of each address, where something else may stand."""
    pages = [f"/p/a{page.address}" for page in PAGES if "{" in page.address]
    named = [re.sub(r"\{\w+\}", "{}", one) for one in pages]
    others = [
        "/{}",
        "/p/{}",
        "/p/{}/",
        "/p/a/{}",
        "/static/{}",
        "/p/a/static/{}",
        "/p/a/static/vendor/{}",
        "/p/a/api/{}",
    ]
    return [*named, *[one + ".json" for one in named], *others, "/p/a/login/{}", "/p/a/.well-known/{}"]


def test_no_part_of_an_address_leads_out_of_what_is_served(served: Served) -> None:
    for place in sorted({*places()}):
        for part in PARTS:
            said = asked(served, head(f"GET {place.format(part)} HTTP/1.1", "Connection: close"))
            assert len(statuses(said)) == 1, (place, part, said[:300])
            assert statuses(said)[0] < 500, (place, part, said[:300])
            assert MARK.encode() not in said, (place, part)
            assert b"root:" not in said
            assert b"\r\nx: y" not in said.lower(), (place, part)


def test_what_is_asked_of_the_tools_by_a_path_stays_in_the_project(served: Served) -> None:
    with httpx2.Client(base_url=served.base, timeout=30) as client:
        for part in ("../secret.json", "/etc/passwd", "..\\x", "x\0y", "%2e%2e/x"):
            for tool, field in (("get_task", "task_id"), ("workspace_diff", "task_id"), ("worker_log", "worker_id")):
                answer = client.get(f"/p/a/api/{tool}", params={field: part})
                assert answer.status_code in (400, 403, 404), (tool, part, answer.text)
                assert MARK not in answer.text


BACKS = [
    "//evil.example", "/\\evil.example", "https://evil.example", "/%0d%0aSet-Cookie:%20x=y", "/\r\nSet-Cookie: x=y",
    "/x\nLocation: https://evil.example", "javascript:alert(1)", "\t//evil.example", "/\t/evil.example", "/é\0",
    "/..//evil.example", "/@evil.example",
]  # fmt: skip


def test_no_redirect_leads_elsewhere_or_carries_a_header(served: Served) -> None:
    root = served.home.parent / "b"
    token = command(root, served.home, "token", "create", "ann", "--role", "admin")["token"]
    with httpx2.Client(base_url=served.base, timeout=30, headers={"authorization": f"Bearer {token}"}) as client:
        for back in BACKS:
            made = client.post("/p/b/do/health_run", data={"back": back})
            assert made.status_code == 303, made.text
            place = made.headers["location"]
            assert place.startswith("/p/b/"), (back, place)
            assert "set-cookie" not in made.headers
            assert "\\" not in place
        for query in ("did=%0d%0aSet-Cookie:%20x=y", "did=<script>x</script>"):
            page = client.get(f"/p/b/?{query}")
            assert "set-cookie" not in page.headers
            assert "<script>x" not in page.text
    for path in ("/p/b", "/p/b/tasks/", "/p/b//evil.example/", "//evil.example/", "/p/b/%0d%0aX:y/"):
        said = asked(served, head(f"GET {path} HTTP/1.1", "Connection: close"))
        found = re.search(rb"\r\nlocation: (\S+)", said)
        assert found is None or found[1].startswith(b"http://127.0.0.1/p/b"), (path, said[:300])


def test_clients_that_send_a_byte_now_and_then_hold_up_nobody(served: Served) -> None:
    first = head("POST /p/a/api/status HTTP/1.1", "Content-Type: application/json", "Content-Length: 100")
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", served.port))) for _ in range(300)]
        for number, one in enumerate(slow):
            one.sendall(first if number % 2 else first[: number % 50 + 1])
        for _ in range(5):
            for one in slow:
                one.sendall(b" ")
            began = time.monotonic()
            assert lives(served)
            assert time.monotonic() - began < 3
    assert lives(served)


def test_a_head_that_does_not_come_ends_the_connection(hasty: Served) -> None:
    """Else whoever opens connections and says nothing takes all that a process may have."""
    after = head("GET /health HTTP/1.1")
    with ExitStack() as stack:
        begun = [b"", b"GET / HT", after + b"GET /", head("POST /p/nothing/ HTTP/1.1", "Content-Length: 9") + b"x"]
        opened = [stack.enter_context(socket.create_connection(("127.0.0.1", hasty.port))) for _ in begun]
        for one, part in zip(opened, begun, strict=True):
            one.sendall(part)
        until = time.monotonic() + SECONDS
        for one in opened:
            one.settimeout(max(0.1, until - time.monotonic()))
            with suppress(ConnectionError):  # it was ended so
                while one.recv(65_536):
                    pass


@pytest.mark.parametrize("path", ["/p/a/api/status", "/p/a/mcp", "/p/a/do/pause", "/p/a/login"])
def test_a_body_that_is_too_large_is_not_read(served: Served, path: str) -> None:
    named = head(f"POST {path} HTTP/1.1", "Content-Type: application/json", f"Content-Length: {BODY_BYTES + 1}")
    said = asked(served, named)
    assert statuses(said) == [413], said[:300]
    assert b"connection: close" in said
    waited = asked(served, named[:-2] + b"Expect: 100-continue\r\n\r\n")
    assert statuses(waited) == [413]
    lines = ("Content-Type: application/json", "Transfer-Encoding: chunked")
    parts = [b"100000\r\n" + b" " * (1 << 20) + b"\r\n"] * 20
    unnamed = asked(served, head(f"POST {path} HTTP/1.1", *lines), *parts)
    assert statuses(unnamed) in ([413], [])
    assert lives(served)


def test_no_more_streams_than_are_served_and_their_places_are_freed(served: Served) -> None:
    def opened(stack: ExitStack) -> socket.socket:
        one = stack.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=SECONDS))
        one.sendall(head("GET /p/a/stream?after=0 HTTP/1.1"))
        return one

    for _ in range(2):  # the second time all places are free again
        with ExitStack() as stack:
            answers = [one.recv(12) for one in [opened(stack) for _ in range(stream.MOST + 50)]]
            assert answers.count(b"HTTP/1.1 200") == MOST_HERE
            assert answers.count(b"HTTP/1.1 503") == stream.MOST + 50 - MOST_HERE
            assert lives(served)
            other = asked(served, head("GET /p/b/stream?after=0 HTTP/1.1"), seconds=2)
            assert statuses(other) == [200], "another project has its own"
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            with ExitStack() as stack:
                tries = [opened(stack).recv(12) for _ in range(MOST_HERE // 2)]
            if set(tries) == {b"HTTP/1.1 200"}:
                break


def test_a_head_request_holds_no_stream(served: Served) -> None:
    said = asked(served, head("HEAD /p/a/stream?after=0 HTTP/1.1") + head("GET /health HTTP/1.1", "Connection: close"))
    assert len(statuses(said)) == 2
