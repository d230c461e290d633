"""What is found of local servers: friendly ones, hostile ones, none."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.support.clock import StoppedClock
from wvo_mcp.domain.providers.catalogue import Model, Place, Provider, ProviderKind, Tier
from wvo_mcp.domain.providers.state import Presence
from wvo_mcp.execution.providers import presence
from wvo_mcp.execution.providers import workspace as workspace_module
from wvo_mcp.execution.providers.presence import MOST_BYTES, found
from wvo_mcp.execution.providers.workspace import ProvidersOfWorkspace

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("PROV-2")]

Talk = Callable[[socket.socket, str], None]
"""Given a connection and the path that was asked for."""


def answered(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{more}\r\n"
    return head.encode() + body


def pages(**bodies: object) -> Talk:
    """A server that knows these paths (`_` for `/`)."""

    def talk(connection: socket.socket, path: str) -> None:
        name = path.strip("/").replace("/", "_")
        known = name in bodies
        connection.sendall(answered(json.dumps(bodies.get(name)).encode(), "200 OK" if known else "404 Not Found"))

    return talk


def says(raw: bytes) -> Talk:
    return lambda connection, _: connection.sendall(raw)


OLLAMA = pages(
    api_version={"version": "0.12.9"}, api_tags={"models": [{"name": "qwen3:8b"}, {"name": "mine:latest"}, {"x": 1}, 7]}
)
VLLM = pages(v1_models={"object": "list", "data": [{"id": "gpt-oss-20b"}, {"id": 5}, "x"]})


@contextmanager
def serving(talk: Talk, family: socket.AddressFamily = socket.AF_INET) -> Generator[str]:
    """The address of a server on a free port of this machine."""
    host = "127.0.0.1" if family is socket.AF_INET else "::1"
    over = threading.Event()
    with socket.create_server((host, 0), family=family) as listener, ExitStack() as connections:
        threads: list[threading.Thread] = []

        def accept() -> None:
            while not over.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connections.enter_context(connection)
                connections.callback(ended, connection)  # before it is closed: its thread may be reading
                threads.append(threading.Thread(target=attend, args=(connection,), daemon=True))
                threads[-1].start()

        def attend(connection: socket.socket) -> None:
            try:
                asked = connection.recv(65_536).decode(errors="replace").split()
                if len(asked) > 1:
                    talk(connection, asked[1])
                    connection.shutdown(socket.SHUT_WR)
            except OSError:
                return

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        shown = host if family is socket.AF_INET else f"[{host}]"
        try:
            yield f"http://{shown}:{listener.getsockname()[1]}"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()  # none comes after the others were closed
            connections.close()
            for thread in threads:
                thread.join()


def ended(connection: socket.socket) -> None:
    """Whoever reads from it or writes to it goes on at once."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Friendly servers may take their time on a busy machine; tests of unfriendly ones set the time that they need."""
    monkeypatch.setattr(presence, "LOOK_SECONDS", 20.0)


def local(url: str, kind: ProviderKind = ProviderKind.OLLAMA, name: str = "local") -> Provider:
    return Provider(name, kind, Place.LOCAL, {Tier.LOW: Model("m")}, base_url=url)


async def look(provider: Provider, path: str = "") -> Presence:
    return (await found([provider], {"PATH": path}))[provider.name]


async def test_ollama_is_found_with_its_models() -> None:
    with serving(OLLAMA) as url:
        seen = await look(local(url))
        assert await look(local(url + "/v1")) == seen

    assert seen == Presence(found=True, models=frozenset({"qwen3:8b", "mine:latest", "mine"}))


async def test_servers_of_the_openai_interface_are_found_with_their_models() -> None:
    with serving(VLLM) as url:
        for base in (url, f"{url}/v1"):
            assert await look(local(base, ProviderKind.OPENAI)) == Presence(True, frozenset({"gpt-oss-20b"}))
    with serving(says(answered(b"no key", "401 Unauthorized"))) as url:
        assert await look(local(url, ProviderKind.OPENAI)) == Presence(found=True)


async def test_localhost_is_found_by_whichever_address_it_has() -> None:
    with serving(OLLAMA, socket.AF_INET6) as url:
        assert (await look(local(url))).found
        if any(found[0] is socket.AF_INET6 for found in socket.getaddrinfo("localhost", 80)):  # not on every machine
            assert (await look(local(url.replace("[::1]", "localhost")))).found
    with serving(OLLAMA) as url:
        assert (await look(local(url.replace("127.0.0.1", "localhost")))).found


async def test_a_program_that_works_with_a_server_here_needs_both() -> None:
    with serving(VLLM) as url:
        for command, there in (("sh", True), ("no-such-program", False)):
            both = replace(local(url, ProviderKind.OPENAI), kind=ProviderKind.CODEX, command=(command,))
            assert (await look(both, os.defpath)).found is there
    assert (await look(replace(both, command=("sh",)), os.defpath)).found is False  # the server is gone


async def test_where_nothing_listens_it_is_not_running() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"

    seen = await look(local(url))

    assert seen == Presence(found=False, note=f"it is not running: nothing listens at {url}")


async def test_a_host_that_nobody_knows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "LOOK_SECONDS", 1.0)

    seen = await look(local("http://no-such-host.invalid:11434"))

    assert seen.found is False
    # Where names are looked up far away the time may be over first.
    assert "is not known" in seen.note or "does not answer within" in seen.note


def drip(connection: socket.socket, _: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    until = time.monotonic() + 150
    while time.monotonic() < until:
        connection.sendall(b" ")
        time.sleep(0.02)


def flood(connection: socket.socket, _: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    until = time.monotonic() + 150
    while time.monotonic() < until:
        connection.sendall(b'"' + b"x" * 65_536)


def endless_head(connection: socket.socket, _: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    until = time.monotonic() + 150
    while time.monotonic() < until:
        connection.sendall(b"x-more: " + b"y" * 60_000 + b"\r\n")


def silent(connection: socket.socket, _: str) -> None:
    connection.recv(1)


ELSEWHERE = "Location: http://127.0.0.1:9/\r\n"
HOSTILE: dict[str, Talk] = {
    "drip": drip,
    "flood": flood,
    "endless head": endless_head,
    "silent": silent,
    "hangs up": lambda connection, _: None,
    "no HTTP": says(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "binary": says(bytes(range(256)) * 100),
    "not JSON": says(answered(b"<html>welcome</html>")),
    "deep JSON": says(answered(b"[" * 200_000)),
    "other JSON": says(answered(b'{"version": {"x": 1}, "data": 5}')),
    "a list": says(answered(b"[1, 2]")),
    "redirect": says(answered(b"", "302 Found", ELSEWHERE)),
    "broken": says(answered(b"oops", "500 Internal Server Error")),
    "lies about its length": says(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}"),
    "broken chunks": says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"),
    "a bomb": says(answered(b"\x1f\x8b\x08" + b"\0" * 100, more="Content-Encoding: gzip\r\n")),
    "too large": says(answered(b'{"version": "' + b"x" * MOST_BYTES + b'"}')),
}


async def test_all_hostile_servers_together_take_no_longer_than_one_look_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "LOOK_SECONDS", 0.3)
    with ExitStack() as servers:
        urls = {name: servers.enter_context(serving(talk)) for name, talk in HOSTILE.items()}
        providers = [local(url, name=name) for name, url in urls.items()]
        providers += [local(url, ProviderKind.OPENAI, f"openai {name}") for name, url in urls.items()]
        await found(providers[:1], {"PATH": ""})  # what is imported late is imported now

        begun = time.monotonic()
        seen = await found(providers, {"PATH": ""})
        took = time.monotonic() - begun

    assert took < 100  # 0.3, and what 34 clients on a busy machine take; servers that drip go on for longer
    for name in HOSTILE:
        assert seen[name].found is False, name
        assert 0 < len(seen[name].note) < 200, name
        assert seen[f"openai {name}"].found is False, name


async def test_an_ollama_whose_list_of_models_hangs_is_there_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = threading.Event()

    def talk(connection: socket.socket, path: str) -> None:
        if not path.endswith("version"):
            listed.set()
        (silent if listed.is_set() else OLLAMA)(connection, path)

    with serving(talk) as url:
        for seconds in (0.5, 4.0, 16.0, 64.0):  # whatever time it takes here until it asks for the list
            monkeypatch.setattr(presence, "LOOK_SECONDS", seconds)
            seen = await look(local(url))
            if listed.is_set():
                break
    assert seen == Presence(found=True)


async def test_no_proxy_is_asked_and_no_cloud_server(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def proxy(connection: socket.socket, path: str) -> None:
        asked.append(path)
        connection.sendall(answered(b"{}"))

    with serving(proxy) as url, serving(OLLAMA) as ollama:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, url)
        cloud = replace(local(url, ProviderKind.OPENAI, "cloud"), place=Place.CLOUD)
        off = replace(local(url, name="off"), enabled=False)
        seen = await found([local(ollama), cloud, off], {"PATH": ""})

    assert seen["local"].found
    assert list(seen) == ["local"]
    assert asked == []


async def test_programs_are_found_on_the_path(tmp_path: Path) -> None:
    (tmp_path / "codex").write_text("#!/bin/sh\n")
    (tmp_path / "codex").chmod(0o755)
    here = Provider("here", ProviderKind.CODEX, Place.CLOUD, {}, command=("codex", "--x"))
    gone = Provider("gone", ProviderKind.CLAUDE, Place.CLOUD, {}, command=("claude",))

    seen = await found([here, gone], {"PATH": str(tmp_path), "HOME": str(tmp_path)})

    gone_ = Presence(found=False, note="claude is not installed")
    assert seen == {"here": Presence(found=True, logged_in=False), "gone": gone_}


@pytest.mark.requirement("PROV-5")
async def test_a_look_tells_who_is_logged_in_without_running_anything(tmp_path: Path) -> None:
    (tmp_path / "codex").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "codex").chmod(0o755)
    plain = Provider("plain", ProviderKind.CODEX, Place.CLOUD, {}, command=("codex",))
    asked = Provider("asked", ProviderKind.CODEX, Place.CLOUD, {}, command=("codex",), key_command=("false",))
    environ = {"PATH": str(tmp_path), "HOME": str(tmp_path)}

    async def logins(**more: str) -> dict[str, bool | None]:
        return {name: one.logged_in for name, one in (await found([plain, asked], environ | more)).items()}

    assert await logins() == {"plain": False, "asked": None}
    assert await logins(OPENAI_API_KEY="k") == {"plain": True, "asked": True}
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex" / "auth.json").write_text('{"tokens": {"a": 1}}')
    assert await logins() == {"plain": True, "asked": None}


async def test_a_server_looks_for_providers_only_while_calls_ask_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace_module, "PRESENCE_SECONDS", 0.01)
    monkeypatch.setattr(workspace_module, "ASKED_SECONDS", 0.01)
    monkeypatch.setattr(workspace_module, "FIRST_LOOK_SECONDS", 600.0)
    path = tmp_path / "providers.yaml"
    with serving(OLLAMA) as url:
        path.write_text(
            f"providers: {{mine: {{kind: ollama, base_url: '{url}', tiers: {{low: {{model: 'qwen3:8b'}}}}}}}}\n"
        )
        providers = ProvidersOfWorkspace(path, {"PATH": ""}, StoppedClock())
        looks = 0
        looked = anyio.Event()
        plain = providers.look

        async def counted() -> None:
            nonlocal looks, looked
            await plain()
            looks += 1
            looked.set()
            looked = anyio.Event()

        monkeypatch.setattr(providers, "look", counted)
        with anyio.fail_after(120):
            async with anyio.create_task_group() as tasks:
                first = looked
                tasks.start_soon(providers.run)
                with anyio.move_on_after(0.3):
                    await first.wait()
                assert looks == 0  # no call asked
                assert await anyio.to_thread.run_sync(providers.presence) == {}  # as a transaction asks
                await first.wait()
                second = looked
                seen = await anyio.to_thread.run_sync(providers.presence)
                assert seen["mine"].models == {"qwen3:8b", "mine:latest", "mine"}
                await second.wait()
                tasks.cancel_scope.cancel()
    assert looks == 2


@pytest.mark.requirement("PROV-2")
async def test_a_server_looks_for_providers_before_its_first_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace_module, "FIRST_LOOK_SECONDS", 0.01)
    providers = ProvidersOfWorkspace(tmp_path / "providers.yaml", {"PATH": ""}, StoppedClock())
    looked = anyio.Event()

    async def look() -> None:
        looked.set()

    monkeypatch.setattr(providers, "look", look)
    with anyio.fail_after(120):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(providers.run)
            await looked.wait()
            tasks.cancel_scope.cancel()
