"""What is told of the real programs: where they are, their versions, that nobody is logged in."""

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from tests.clients.programs import clean_environment, programs_folder
from wvo_mcp.execution.providers import presence
from wvo_mcp.execution.providers.parse import defaults
from wvo_mcp.execution.providers.presence import check

pytestmark = [pytest.mark.anyio, pytest.mark.clients, pytest.mark.requirement("PROV-5")]


@pytest.mark.parametrize("name", ["claude", "codex", "gemini"])
async def test_the_real_programs_tell_their_versions(
    tmp_path: Path, name: str, need: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    need(name)
    monkeypatch.setattr(
        presence, "_VERSION_SECONDS", 90.0
    )  # on a busy machine gemini takes more than the eight of the product
    provider = defaults().provider(name)
    assert provider is not None
    environ = {**clean_environment(tmp_path), "DISABLE_AUTOUPDATER": "1"}

    with anyio.fail_after(200):
        found = await check(provider, environ)
        assert found.program == str(programs_folder() / name)
        assert found.version is not None and found.version[0].isdigit()
        assert (found.logged_in, "is not set; there is no ~/." in found.how) == (False, True)

        assert provider.key_env is not None
        keyed = await check(provider, {**environ, provider.key_env: "no-key-at-all"})
        assert (keyed.logged_in, keyed.how) == (True, f"{provider.key_env} is set")
