"""Projects of one server have stores of their own, however these are written."""

import os
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from wvo_mcp.app.web import check_apart
from wvo_mcp.errors import InvalidInput, StoreUnavailable
from wvo_mcp.settings import Settings

pytestmark = [pytest.mark.requirement("CORE-15", "DASH-3")]


def at(root: Path, state: Path | None = None, url: str | None = None) -> Settings:
    return Settings(root=root).model_copy(update={"state_dir": state or root / "state", "database_url": url})


@pytest.fixture
def a(tmp_path: Path) -> Path:
    (tmp_path / "a" / "state").mkdir(parents=True)
    (tmp_path / "a" / "state" / "state.db").write_bytes(b"")
    (tmp_path / "b" / "state").mkdir(parents=True)
    return tmp_path / "a"


def refused(one: Settings, other: Settings) -> None:
    with pytest.raises(InvalidInput) as raised:
        check_apart({"a": one, "b": other})
    assert "b and a have the same store" in raised.value.message


def test_one_file_by_two_paths_is_one_store(a: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    b = a.parent / "b"
    check_apart({"a": at(a), "b": at(b)})
    (a.parent / "link").symlink_to(a)
    monkeypatch.chdir(a.parent)
    for other in (a.parent / "link", b / ".." / "a", Path("a"), Path("b/../link/."), a / "state" / ".."):
        refused(at(a), at(other))
    refused(at(a), at(b, a.parent / "link" / "state"))


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_file_of_another_folder_that_is_the_same_one_is_one_store(a: Path, link: object) -> None:
    b = a.parent / "b"
    assert callable(link)
    link(a / "state" / "state.db", b / "state" / "state.db")
    refused(at(a), at(b))


def test_one_database_by_two_addresses_is_one_store(a: Path, database_url: str) -> None:
    b = a.parent / "b"
    parts = urlsplit(database_url)
    others = [
        database_url + ("&" if parts.query else "?") + "application_name=x",
        database_url.replace("postgresql://", "postgres://", 1),
        database_url + ("&" if parts.query else "?") + "connect_timeout=3&sslmode=prefer",
    ]
    if parts.hostname == "127.0.0.1":
        others.append(database_url.replace("127.0.0.1", "localhost", 1))
    for other in others:
        assert other != database_url
        refused(at(a, url=database_url), at(b, url=other))
    check_apart({"a": at(a, url=database_url), "b": at(b)})


def test_two_schemas_of_one_database_are_two_stores(a: Path, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as raw:
        raw.execute("CREATE SCHEMA other")
    more = database_url + ("&" if urlsplit(database_url).query else "?") + "options=-csearch_path%3Dother"
    check_apart({"a": at(a, url=database_url), "b": at(a.parent / "b", url=more)})


def test_a_database_that_cannot_be_asked_is_named_with_its_project(a: Path) -> None:
    away = at(a, url="postgresql://nobody@127.0.0.1:9/none?connect_timeout=2")
    with pytest.raises(StoreUnavailable) as raised:
        check_apart({"a": away, "b": at(a.parent / "b")})
    assert raised.value.message.startswith("Project a: ")
