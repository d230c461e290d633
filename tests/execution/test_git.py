"""Every form that a repository, a working tree and an index may have; real git."""

from pathlib import Path

import pytest

from tests.support.repository import PATH, ROADMAP, Place, nobody, place
from wvo_mcp.execution.roadmap.history import RoadmapCommits

__all__ = ["nobody", "place"]

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DR-3")]


async def test_variables_of_a_surrounding_git_lead_nowhere_else(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as inside:
        inside.setenv("GIT_DIR", str(place.root / "elsewhere"))
        inside.setenv("GIT_INDEX_FILE", str(place.root / "other-index"))
        recorded = await place.export(T1="Uno")

    assert recorded.commit == place.head()
    assert place.status() == []


async def test_a_linked_worktree_has_a_branch_and_an_index_of_its_own(place: Place, tmp_path: Path) -> None:
    place.git("worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    side = Place.__new__(Place)
    side.root, side.path = tmp_path / "side", tmp_path / "side" / PATH
    side.history = RoadmapCommits(side.path)
    main = place.head()

    recorded = await side.export(T1="Uno")

    assert recorded.commit == side.head() != main == place.head()
    assert side.status() == place.status() == []


async def test_a_submodule_beside_the_roadmap_stays_as_it_is(place: Place, tmp_path: Path) -> None:
    module = Place(tmp_path / "module").begin()
    place.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(module.root), "lib")
    place.person("commit", "-q", "-m", "with a module")
    tree = place.git("ls-tree", "HEAD", "lib")

    assert (await place.export(T1="Uno")).commit == place.head()

    assert place.git("ls-tree", "HEAD", "lib") == tree
    assert place.status() == []


async def test_a_workspace_below_the_top_of_its_repository_is_committed_there(tmp_path: Path) -> None:
    place = Place(tmp_path / "mono" / "part")
    top = tmp_path / "mono"
    place.git("init", "-q", "-b", "main", str(top))
    place.git("add", ".")
    place.person("commit", "-q", "-m", "begin")

    assert (await place.export(T1="Uno")).commit == place.head()

    assert place.git("diff", "--name-only", "HEAD^", "HEAD").split() == [f"part/{PATH}"]
    assert place.status() == []


@pytest.mark.parametrize(
    "option", ["core.splitIndex=true", "core.untrackedCache=true", "index.version=4", "feature.manyFiles=true"]
)
async def test_every_form_of_index_is_kept(place: Place, option: str) -> None:
    place.git("config", *option.split("="))
    (place.root / "code.py").write_text("a = 2\n")
    place.git("add", "code.py")
    entries = place.entries()

    assert (await place.export(T1="Uno")).commit == place.head()

    assert place.entries() == entries
    assert place.status() == ["M  code.py"]
    assert place.git("fsck") == ""


async def test_line_ends_that_git_converts_are_no_change(place: Place) -> None:
    place.git("config", "core.autocrlf", "true")
    place.path.write_bytes(ROADMAP.replace("\n", "\r\n").encode())

    assert (await place.export(T1="Uno")).commit == place.head()

    assert place.committed() == ROADMAP.replace("One", "Uno")
    assert place.status() == []
