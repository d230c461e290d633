"""Schema versions: numbered SQL files, forward only, the same numbers for both databases."""

from pathlib import Path

from wvo_mcp.errors import IncompatibleStore

FOLDER = Path(__file__).parent / "migrations"
"""One folder a dialect."""


def migrations(dialect: str = "sqlite") -> list[tuple[int, str]]:
    """(number, SQL) of every migration, ascending; the numbers are the same in all dialects."""
    found = [(int(entry.name[:4]), entry.read_text()) for entry in (FOLDER / dialect).glob("*.sql")]
    return sorted(found)


def latest() -> int:
    return migrations()[-1][0]


def refuse_newer(where: object, version: int) -> None:
    """Raises IncompatibleStore for a database that a newer program has made or moved on."""
    if version > latest():
        raise IncompatibleStore(
            f"{where} has schema {version}; this program knows schemas up to {latest()}.",
            hint="Upgrade wvo-mcp on this machine: an older one must not write a newer database.",
        )
