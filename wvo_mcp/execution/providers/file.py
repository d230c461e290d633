"""`state/providers.yaml` on disk."""

from dataclasses import replace
from functools import cache
from pathlib import Path

from wvo_mcp.domain.providers.catalogue import NO_LIMITS, Catalogue
from wvo_mcp.errors import InvalidInput
from wvo_mcp.execution.providers.parse import MAX_BYTES, packaged_text, parse
from wvo_mcp.execution.yaml.source import read_at_most


def read(path: Path) -> Catalogue | None:
    """None without a file. Raises InvalidInput with every problem, also for a file that cannot be read."""
    name = f"{path.parent.name}/{path.name}"
    try:
        data = read_at_most(path, MAX_BYTES, "providers", name)
    except OSError as error:
        reason = f"{name} cannot be read: {error.strerror or error}"
        raise InvalidInput("providers", reason, message=f"{reason}.") from None
    if data is None and path.is_symlink():
        reason = f"{name} is a link to a file that is not there"
        raise InvalidInput("providers", reason, message=f"{reason}.")
    return None if data is None else parse(data, name)


@cache
def defaults() -> Catalogue:
    """What holds without a file: the packaged text, without its limits: no one is stopped by limits that they never saw."""
    packaged = parse(packaged_text().encode(), "the packaged providers.yaml")
    providers = tuple(
        replace(
            one,
            limits=NO_LIMITS,
            tiers={tier: replace(model, limits=NO_LIMITS) for tier, model in one.tiers.items()},
        )
        for one in packaged.providers
    )
    return replace(packaged, providers=providers, agent_limits=NO_LIMITS, task_limits=NO_LIMITS, digest="")
