"""What people accepted is kept outside of the project."""

import json
import stat
from pathlib import Path

import pytest

from wvo_mcp.errors import InvalidInput, StoreUnavailable
from wvo_mcp.execution.trust import Trust, trust_file

pytestmark = pytest.mark.requirement("SAFE-4")

CONTENT = {"own": {"command": ["own"]}}


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}, "/x/wvo-mcp/trust.json"),
        ({"HOME": "/h"}, "/h/.config/wvo-mcp/trust.json"),
        ({"XDG_CONFIG_HOME": "relative", "HOME": "/h"}, "/h/.config/wvo-mcp/trust.json"),
    ],
)
def test_it_is_where_settings_of_the_user_are(environ: dict[str, str], place: str) -> None:
    assert str(trust_file(environ)) == place


def test_each_project_has_its_own_and_all_of_them_stay(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    one, other = Trust(environ, tmp_path / "one"), Trust(environ, tmp_path / "other")
    before = one.fingerprint()

    digest = one.accept("providers", CONTENT)
    other.accept("providers", {})

    assert (one.accepted("providers"), other.accepted("providers")) == (CONTENT, {})
    assert one.fingerprint() != before
    kept = json.loads(one.file.read_text())
    assert kept[str((tmp_path / "one").resolve())]["providers"]["sha256"] == digest
    assert stat.S_IMODE(one.file.stat().st_mode) == 0o600


def test_a_file_that_is_not_ours_accepts_nothing_and_is_not_overwritten(tmp_path: Path) -> None:
    trust = Trust({"HOME": str(tmp_path)}, tmp_path)
    trust.accept("providers", CONTENT)
    edited = trust.file.read_text().replace('"own"', '"other"')
    trust.file.write_text(edited)
    assert trust.accepted("providers") == {}, "the digest is another"
    for text in ("{", "[]", '{"x": 1}'):
        trust.file.write_text(text)
        assert trust.accepted("providers") == {}
    for text in ("{", json.dumps({str(tmp_path.resolve()): []})):
        trust.file.write_text(text)

        with pytest.raises(InvalidInput, match="trust"):
            trust.accept("providers", CONTENT)

        assert trust.file.read_text() == text


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".config").write_text("a file")

    with pytest.raises(StoreUnavailable, match="wvo-mcp cannot be read or written"):
        Trust({"HOME": str(tmp_path)}, tmp_path).accept("providers", CONTENT)
