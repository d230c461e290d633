"""The providers of models: the file, and whether what it names can be used from here."""

from collections.abc import Mapping
from pathlib import Path

import anyio

from wvo_mcp.domain.finding import Finding, fail, ok, warn
from wvo_mcp.domain.providers.catalogue import Catalogue, Provider
from wvo_mcp.domain.providers.trust import held_back, parts_of, waits
from wvo_mcp.errors import InvalidInput
from wvo_mcp.execution.providers.parse import defaults, read
from wvo_mcp.execution.providers.presence import check_all
from wvo_mcp.execution.trust import PROVIDERS, Trust
from wvo_mcp.ports.providers import ProviderCheck


def providers(path: Path, environ: Mapping[str, str], trust: Trust | None = None) -> list[Finding]:
    """One finding for the file, and one for each provider that it turns on. Runs their programs, as far as a person has
    accepted them. Without a file those that are here are shown: the others were asked for by no person."""
    try:
        given = read(path)
    except InvalidInput as error:
        remedy = "Fix that line. Until then the last good version is used; a server that starts now assigns no tasks."
        return [fail("providers", error.message, remedy)]
    catalogue, unaccepted = given or defaults(), None
    if trust is not None:
        catalogue, waiting = held_back(catalogue, trust.accepted(PROVIDERS), parts_of(defaults()))
        unaccepted = waits(waiting)
    named = [one for one in (given or defaults()).providers if one.enabled]
    enabled = [one for one in catalogue.providers if one.enabled]
    standings = anyio.run(check_all, enabled, environ)
    if given is None:
        judged = [
            ok(f"provider {one.name}", _known(found)) for one in enabled if (found := standings[one.name]).program
        ]
    else:
        judged = [_provider(one, standings[one.name]) for one in enabled]
    remedy = "Look at the difference, then accept it: wvo-mcp trust"
    held = [] if unaccepted is None else [warn("trust", unaccepted, remedy)]
    return [_file(path, given, named), *held, *judged]


def _file(path: Path, given: Catalogue | None, enabled: list[Provider]) -> Finding:
    if given is None:
        return ok("providers", f"there is no {path}: defaults hold, without limits (wvo-mcp init writes one)")
    if not enabled:
        return ok("providers", f"every provider in {path} is turned off: attached agents work all the same")
    return ok("providers", f"{', '.join(one.name for one in enabled)} in {path}")


def _provider(provider: Provider, found: ProviderCheck) -> Finding:
    check = f"provider {provider.name}"
    if found.program is None:
        remedy = f"Install or start it, or set enabled: false for {provider.name} in providers.yaml."
        return warn(check, found.how, remedy)
    what = _known(found)
    if found.logged_in is False:
        key = provider.key_env or "its key"
        return warn(check, what, f"Log in with it, or set {key} where servers and clients are started.")
    return ok(check, what)


def _known(found: ProviderCheck) -> str:
    return f"{found.version or 'version unknown'} at {found.program}; {found.how}"
