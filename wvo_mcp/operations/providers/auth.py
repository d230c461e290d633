"""`auth_status`: which providers can be used from this machine."""

from typing import Literal

from pydantic import Field

from wvo_mcp.domain.providers.catalogue import Provider
from wvo_mcp.domain.redaction import redact
from wvo_mcp.domain.roadmap_check import near
from wvo_mcp.domain.text import Label
from wvo_mcp.errors import NotFound
from wvo_mcp.operations.inputs import Input, Output
from wvo_mcp.operations.operation import Context, Effect, operation
from wvo_mcp.ports.providers import ProviderCheck, Providers


class AuthAsk(Input):
    provider: Label | None = Field(default=None, description="Only this provider.")


class Auth(Output):
    provider: str
    kind: str
    place: Literal["cloud", "local"]
    enabled: bool
    installed: bool = Field(description="Or answering, where it is a server.")
    program: str | None = Field(description="Path or address.")
    version: str | None
    logged_in: bool | None = Field(description="Or keyed; null: unknown.")
    how: str = Field(description="How this was found; never a secret.")
    models: list[str] = Field(description="That a local server has.")


class AuthStatus(Output):
    providers: list[Auth]
    problem: str | None = Field(description="What is wrong with providers.yaml.")


@operation(toolset="providers", effect=Effect.EXTERNAL, manages_own_transactions=True, idempotent=True)
async def auth_status(ctx: Context, params: AuthAsk, providers: Providers) -> AuthStatus:
    """Show for each provider whether it is installed, its version, and whether it has a login or an API key."""
    all_of_them = providers.current().providers
    wanted = [one for one in all_of_them if params.provider in (None, one.name)]
    if params.provider is not None and not wanted:
        raise NotFound(
            "provider", params.provider, near(params.provider, [one.name for one in all_of_them]), field="provider"
        )
    found = await providers.check(wanted)
    return AuthStatus(
        providers=[_shown(one, found[one.name]) for one in wanted],
        problem=providers.problem() or providers.unaccepted(),
    )


def _shown(provider: Provider, known: ProviderCheck) -> Auth:
    return Auth(
        provider=provider.name,
        kind=provider.kind.value,
        place=provider.place.value,
        enabled=provider.enabled,
        installed=known.program is not None,
        program=known.program,
        version=known.version,
        logged_in=known.logged_in,
        how=redact(known.how),
        models=list(known.models),
    )
