"""The lock that stands for a session on PostgreSQL."""

import pytest

from wvo_mcp.errors import StoreUnavailable
from wvo_mcp.store.postgres.presence import Presence, key_of

pytestmark = pytest.mark.requirement("CLAIM-3", "SCALE-1")


def test_a_database_that_is_not_there_is_told_when_the_session_begins(database_url: str) -> None:
    nowhere = database_url.rsplit("/", 1)[0] + "/nowhere"

    with pytest.raises(StoreUnavailable, match="nowhere") as told:
        Presence(nowhere, "s1").begin()

    assert "secret" not in told.value.message


def test_keys_fit_and_differ() -> None:
    keys = {key_of(f"session-{number}") for number in range(1_000)}

    assert len(keys) == 1_000
    assert all(-(2**63) <= key < 2**63 for key in keys)
