"""The web server of a project or of several, and whom it works for."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import anyio
import anyio.to_thread

from wvo_mcp.app.building import backend_of, begun, identity_tokens
from wvo_mcp.app.serving import Server, live
from wvo_mcp.domain.access import Doors, Principal, Via
from wvo_mcp.domain.lease import Caller, Role
from wvo_mcp.errors import Forbidden, InvalidInput, WvoError
from wvo_mcp.execution.identity import as_reader, check_not_below_warden, cli_caller, provider_of, speaks_below_warden
from wvo_mcp.faces.http import address_of, build_projects, build_site, is_loopback, listen, principal_of, run
from wvo_mcp.faces.http.site import Site
from wvo_mcp.faces.mcp.streamable import StreamableHttp
from wvo_mcp.operations import Container, named, tools
from wvo_mcp.project import WrongSetting
from wvo_mcp.settings import Settings

logger = logging.getLogger(__name__)

_ANY = ("0.0.0.0", "::")  # noqa: S104
"""All addresses of this machine: no name of any of them."""

OnLine = Callable[[str], None]


async def serve_http(
    settings: Settings, host: str, port: int, on_line: OnLine, doors: Doors, *, runs: bool = True
) -> int:
    """The whole life of the HTTP server of a project: until it is stopped. `on_line` gets its address, then how a person signs
    in; with `runs` it lands work too. Raises InvalidInput for a host, a port or a certificate that cannot be had, and what
    `serve` raises."""
    check_not_below_warden("serve")  # a worker must not become an agent that asks over HTTP
    with listen(host, port) as listener:
        doors = _opened(doors, host, listener.getsockname()[0])

        async def face(server: Server) -> None:
            server.connection.identify("http")
            site = site_of(settings, server.services, doors)
            line = await sign_in_line(settings, server.services, address_of(listener, doors, reached=True))

            def announce(address: str) -> None:
                on_line(address)
                on_line(line)

            problem: WvoError | None = None
            async with anyio.create_task_group() as group:
                group.start_soon(site.run)
                try:
                    await run(site, listener, announce, doors, site.close)
                except WvoError as error:  # a group would wrap it
                    problem = error
                group.cancel_scope.cancel()
            if problem is not None:
                raise problem

        return await live(settings, face, runs=runs)


async def serve_projects(
    projects: Mapping[str, Settings], host: str, port: int, on_line: OnLine, doors: Doors, *, runs: bool = True
) -> int:
    """The same for several projects, each below `/p/NAME/` with all that a server of its own would have. Raises as
    `serve_http`, and InvalidInput for two that share a store."""
    check_not_below_warden("serve")
    await anyio.to_thread.run_sync(check_apart, projects)
    sites: dict[str, Site] = {}
    lines: list[str] = []
    stop = anyio.Event()
    failed: list[Exception] = []

    with listen(host, port) as listener:
        doors = _opened(doors, host, listener.getsockname()[0])
        reached = address_of(listener, doors, reached=True)

        async def project(name: str, settings: Settings, ready: anyio.Event) -> None:
            async def face(server: Server) -> None:
                server.connection.identify("http")
                site = sites[name] = site_of(settings, server.services, doors, name)
                lines.append(f"{name}: {await sign_in_line(settings, server.services, f'{reached}/p/{name}')}")
                async with anyio.create_task_group() as parts:
                    parts.start_soon(site.run)
                    ready.set()
                    await stop.wait()
                    parts.cancel_scope.cancel()

            try:
                await live(settings, face, runs=runs)
            except Exception as error:  # raised below, outside of the group, which would wrap it
                failed.append(_named(name, error))
                leave()
                stop.set()
                group.cancel_scope.cancel()
            finally:
                ready.set()

        def announce(address: str) -> None:
            for line in (address, *lines):
                on_line(line)

        def leave() -> None:
            for site in sites.values():
                site.close()

        async with anyio.create_task_group() as group:
            for name, settings in projects.items():
                ready = anyio.Event()
                group.start_soon(project, name, settings, ready)
                await ready.wait()  # one after the other: what is wrong with one is said of that one
            try:
                await run(build_projects(sites, frozenset(doors.allow_hosts)), listener, announce, doors, leave)
            except Exception as error:
                failed.append(error)
            finally:
                stop.set()
    if failed:
        raise failed[0]
    return 0


def _named(name: str, error: Exception) -> Exception:
    """Says of which project it is."""
    if isinstance(error, WvoError):
        error.message = f"Project {name}: {error.message}"
    elif isinstance(error, WrongSetting):
        return WrongSetting(f"project {name}: {error}")
    else:
        logger.error("project %s met a defect", name)
    return error


def check_apart(projects: Mapping[str, Settings]) -> None:
    """Raises InvalidInput for two with the same store, however it is written; the errors of a store that has to be asked."""
    seen: dict[str, str] = {}
    for name, settings in projects.items():
        # A folder of state is one project's also where its tasks are elsewhere: settings, homes and backups are in it.
        try:
            own = backend_of(settings).identity()
        except WvoError as error:
            raise _named(name, error) from None
        for store in (own, str(settings.state_dir.resolve())):
            if store in seen:
                raise InvalidInput("project", f"{name} and {seen[store]} have the same store: {settings.root}")
            seen[store] = name


def _opened(doors: Doors, host: str, bound: str) -> Doors:
    if is_loopback(bound):
        return doors
    if doors.certfile is None:
        logger.warning("Tokens and work pass unencrypted: give --certfile and --keyfile, or put a TLS proxy before.")
    return replace(doors, allow_hosts=(*doors.allow_hosts, *([] if host.strip("[]") in _ANY else [host])))


def site_of(settings: Settings, services: Container, doors: Doors, name: str | None = None) -> Site:
    """All that is served of a project; its name is that of its folder where nothing else is said."""
    known, identify = frozenset(op.toolset for op in tools()), partial(http_caller, settings)
    shown, quiet = settings.enabled(known), settings.quiet_max_seconds
    mcp = StreamableHttp(services, principal_of, identify, shown, known, quiet)
    return build_site(services, identify, name or settings.root.name, doors, identity_tokens(settings), mcp)


async def sign_in_line(settings: Settings, services: Container, address: str) -> str:
    """The link for the browser of the person who started the server."""
    if not begun(settings, backend_of(settings)):
        return "To sign in, once there is work: wvo-mcp login-link"
    link, why_not = await sign_in(settings, services, address)
    return why_not if link is None else f"Sign in, once and within 10 minutes: {link}"


async def sign_in(settings: Settings, services: Container, address: str) -> tuple[str | None, str]:
    """The link, for the person who started this process; else why there is none."""
    link = named("login_link")
    assert link is not None  # noqa: S101 - the registry has it
    try:
        made = await link(services, cli_caller(settings), {"address": address})
    except Forbidden:
        return None, "No link to sign in: this is an agent's shell. A person gets one by: wvo-mcp login-link"
    except WvoError as error:
        return None, f"No link to sign in: {error.message} Later: wvo-mcp login-link"
    return str(made["address"]), ""


def http_caller(
    settings: Settings,
    principal: Principal,
    agent_id: str | None = None,
    ports: tuple[int, int] | None = None,
    client: str | None = None,
) -> Caller:
    """Requests of one agent share a durable session, as its commands do; of a token, they share it with that token alone. What
    a worker started may only read: with `ports`, theirs and ours, it is looked up who asks."""
    person = principal.role >= Role.OPERATOR
    name = principal.name if person else agent_id or principal.name
    session = {Via.LOOPBACK: f"http:{name}", Via.SESSION: f"web:{principal.key_id}"}
    caller = Caller(
        agent_id=name,
        session_id=session.get(principal.via, f"http:{principal.key_id}:{name}"),
        provider=provider_of(settings, client),
        client=client or "http",
        capabilities=settings.capabilities,
        durable=True,
        role=principal.role,
        pooled=not person,
    )
    return as_reader(caller) if ports is not None and speaks_below_warden(*ports) else caller
