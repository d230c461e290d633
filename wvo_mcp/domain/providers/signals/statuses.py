"""HTTP statuses inside the texts of programs."""

from wvo_mcp.domain.providers.signals.patterns import Pattern

_STATUS = Pattern(
    r"(?:unexpected status|last status:|api error:|status code:?|\(status|error:? status|got status:?) ?([45]\d\d)\b"
)


def status_in(text: str) -> int | None:
    """The status that a program's error names, from 400 on."""
    found = _STATUS.search(text[:4_000].lower())
    return int(found[1]) if found else None
