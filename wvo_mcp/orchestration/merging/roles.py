"""Who may land: the slot of a target is a row of `leaders`."""

from wvo_mcp.domain.merging import Entry


def role_of(entry: Entry) -> str:
    """The name of the slot that the entry needs: one of each repository and target."""
    return f"merge:{entry['repository']}:{entry['target']}"
