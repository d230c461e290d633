"""Whatever agents do in a copy and people in the folder, and wherever it is killed: a promotion changes the paths that the copy
changed, to what the copy has, and nothing else; or nothing at all (WS-6)."""

import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.support.scale import sized
from tests.support.yard import digests, new_mode
from wvo_mcp.execution.workspaces import promoting, shadow, worktree
from wvo_mcp.execution.workspaces.promoting import Moved
from wvo_mcp.execution.workspaces.repository import Common
from wvo_mcp.execution.workspaces.snapshot import Tree

NAMES = ["a", "a/f", "b.txt", "d/x", "d/y", "d/e/z", "x.log", "d/n.log", "-dash", "\u00e9\n\t", "d", "code.py"]
TEXTS = ["", "one\n", "two\r\n", "\r\n\0\xff"]
Disk = dict[str, str]
"""Files and links with their modes and digests, by path."""


class Died(BaseException):
    """The process ends here."""


def look(top: Path) -> Disk:
    return {name: one for name, one in digests(top).items() if not one.startswith("4")}


def seen(disk: Disk) -> Disk:
    """What git sees of it."""
    return {name: one for name, one in disk.items() if not any(part.endswith(".log") for part in name.split("/"))}


def as_git(disk: Disk) -> Disk:
    """With the modes that git knows."""
    return {name: _with_mode(one, "100755" if _mode(one) & 0o100 else "100644") for name, one in disk.items()}


def put(had: str | None, target: str) -> str:
    """What is there afterwards: the person's permissions, and whether the copy's file can be executed."""
    if not target.startswith("100"):
        return target
    executable = bool(_mode(target) & 0o100)
    rights = _mode(had) if had and had.startswith("100") else new_mode(executable=executable)
    if executable != bool(rights & 0o100):
        rights = rights | (rights & 0o444) >> 2 if executable else rights & ~0o111
    return _with_mode(target, f"100{rights:03o}")


def _mode(one: str) -> int:
    return int(one.partition(" ")[0], 8) & 0o777


def _with_mode(one: str, mode: str) -> str:
    return f"{mode} {one.partition(' ')[2]}" if one.startswith("100") else one


class Model(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="wvo-model-")).resolve()
        self.root, self.places = self.home / "shop", self.home / "places"
        self.root.mkdir()
        self.number = 0

    def teardown(self) -> None:
        shutil.rmtree(self.home)

    @initialize()
    def begin(self) -> None:
        for name, text in {"code.py": "a = 1\n", "d/x": "x\n", ".gitignore": "*.log\n", "x.log": "x\n"}.items():
            (self.root / name).parent.mkdir(exist_ok=True)
            (self.root / name).write_text(text)
        self.project = look(self.root)
        self.anew()

    @rule()
    def anew(self) -> None:
        """Another task begins, with what the folder has now."""
        self.number += 1
        place = {"workspace_id": f"ws-{self.number}", "task_id": "T1", "path": str(self.places / f"T{self.number}")}
        self.row: dict[str, Any] = {**place, "mode": "shadow", "facts": "{}"}
        fields = shadow.made(self.root, self.row, ())
        self.row |= {"base_sha": fields["base_sha"], "facts": json.dumps(fields["facts"])}
        self.base = seen(look(self.copy))

    @property
    def copy(self) -> Path:
        return Path(self.row["path"])

    @property
    def tree(self) -> Tree:
        return worktree.tree_of(self.root, self.row)

    @invariant()
    def nobody_but_people_and_promotions_writes_in_the_folder(self) -> None:
        if self.number:
            assert look(self.root) == self.project

    # What agents and people do

    @rule(
        by_person=st.booleans(),
        name=st.sampled_from(NAMES),
        text=st.sampled_from(TEXTS),
        mode=st.sampled_from([0o644, 0o755, 0o600, 0o750]),
    )
    def write(self, by_person: bool, name: str, text: str, mode: int) -> None:
        path = _free(self.root if by_person else self.copy, name)
        path.write_bytes(text.encode("latin-1"))
        path.chmod(mode)
        self.project = look(self.root)

    @rule(by_person=st.booleans(), name=st.sampled_from(NAMES), to=st.sampled_from(["a", "nowhere", "d"]))
    def link(self, by_person: bool, name: str, to: str) -> None:
        _free(self.root if by_person else self.copy, name).symlink_to(to)
        self.project = look(self.root)

    @rule(by_person=st.booleans(), name=st.sampled_from(NAMES))
    def remove(self, by_person: bool, name: str) -> None:
        top = self.root if by_person else self.copy
        _gone(top, top / name)
        self.project = look(self.root)

    # What is proven

    @rule(at=st.integers(0, 60))
    def promote(self, at: int) -> None:
        before, target = self.project, seen(look(self.copy))
        now, was, becomes = as_git(before), as_git(self.base), as_git(target)
        names = {name for name in {*was, *becomes} if was.get(name) != becomes.get(name)}
        fits = all(now.get(name) in (was.get(name), becomes.get(name)) for name in names)
        commit = self.tree.commit("What it has")
        run, left = Common.run, [at]

        def dies(common: Common, *words: str, **more: Any) -> bytes:
            if left[0] == 0:
                raise Died
            left[0] -= 1
            return run(common, *words, **more)

        expected = {name: one for name, one in before.items() if name not in names}
        expected |= {name: put(before.get(name), target[name]) for name in names if name in target}
        tree = self.tree
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Common, "run", dies)
                promoting.applied(tree, self.root, promoting.planned(tree, self.root, commit))
        except Moved as moved:
            assert not fits or _in_each_others_way(before, expected), moved.paths
            return
        except Died:
            if look(self.root) == before and promoting.JOURNAL not in tree.common.refs(promoting.JOURNAL):
                return
            assert promoting.finished(tree, self.root, "20260101") == promoting.Finished(commit)
        assert fits
        promoting.kept(tree)
        self.project = expected
        self.row["base_sha"], self.base = commit, target


def _in_each_others_way(*disks: Disk) -> bool:
    """A file or link stands where another name has a folder."""
    names = {name for disk in disks for name in disk}
    return any(str(above) in names for name in names for above in PurePosixPath(name).parents)


def _free(top: Path, name: str) -> Path:
    """Nothing is there, and nothing on the way but folders."""
    path = top / name
    for above in _above(top, path):
        if above.is_symlink() or not above.is_dir():
            _gone(top, above)
    _gone(top, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _above(top: Path, path: Path) -> Iterator[Path]:
    yield from (top / one for one in reversed(path.relative_to(top).parents[:-1]))


def _gone(top: Path, path: Path) -> None:
    links: Collection[Path] = [one for one in _above(top, path) if one.is_symlink()]
    if links:
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


@pytest.mark.requirement("WS-6")
def test_a_promotion_is_all_of_it_or_nothing(home: Path) -> None:
    run_state_machine_as_test(
        Model,
        settings=settings(
            max_examples=sized(300, 8),
            stateful_step_count=sized(40, 12),
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
            derandomize=sized(0, 1) == 1,
        ),
    )
