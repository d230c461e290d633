"""How the database is, as far as its server tells a client."""

from wvo_mcp.domain.health import Condition
from wvo_mcp.store.sql import Rows, Writer


class PostgresProbe:
    """`ports.Probe` of one database. Its disk is its server's: what is left of it cannot be told from here."""

    def __init__(self, reader: Writer) -> None:
        self._reader = reader

    async def look(self) -> Condition:
        return Condition(bytes=await self._reader.read(_size))


async def _size(rows: Rows) -> int:
    return int(rows.value("SELECT pg_database_size(current_database())"))
