"""Whatever is done to a worktree, and however often files go back and forth: the bytes on disk are those that a model says,
those of ignored files included (WS-5)."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.support.ground import Ground, laid, made
from tests.support.scale import sized
from wvo_mcp.execution.workspaces import rollback
from wvo_mcp.execution.workspaces.rollback import NotPossible, Plan
from wvo_mcp.execution.workspaces.snapshot import Tree

__all__ = ["made"]
NAMES = ["a", "a/f", "b.txt", "d/x", "d/y", "d/e/z", "x.log", "d/n.log", "a.log", "-dash", "\u00e9\n\t", "d", "code.py"]
TEXTS = ["", "one\n", "two\n", "\r\n\0\xff"]
WHICH = st.integers(0, 1_000)
Disk = dict[str, str]
"""Files and links with their modes and digests, by path."""


def ignored(name: str) -> bool:
    return any(part.endswith(".log") for part in name.split("/"))


def clashes(one: Mapping[str, str], other: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """A file of the one where the other has a folder."""
    yield from ((a, b) for a in one for b in other if b.startswith(f"{a}/"))


class Died(BaseException):
    """The process ends here."""


class Model(RuleBasedStateMachine):
    origin: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="wvo-model-"))
        self.ground: Ground = laid(self.origin, self.folder)
        self.disk: Disk = {}
        self.kept: dict[str, Disk] = {}
        self.order: list[str] = []

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @property
    def top(self) -> Path:
        return self.ground.path

    def look(self) -> Disk:
        return {name: one for name, one in self.ground.files().items() if not one.startswith("4")}

    def seen(self, disk: Disk) -> Disk:
        """What git sees of it."""
        return {name: one for name, one in disk.items() if not ignored(name)}

    @initialize()
    def begin(self) -> None:
        self.disk = self.look()
        self.keep()

    @invariant()
    def the_bytes_are_as_the_model_says(self) -> None:
        assert self.look() == self.disk

    # What an agent does

    @rule(name=st.sampled_from(NAMES), text=st.sampled_from(TEXTS), mode=st.sampled_from([0o644, 0o755]))
    def write(self, name: str, text: str, mode: int) -> None:
        path = self._free(name)
        path.write_bytes(text.encode("latin-1"))
        path.chmod(mode)
        self.disk = self.look()

    @rule(name=st.sampled_from(NAMES), to=st.sampled_from(["a", "nowhere", "d", "../../../etc", "x.log"]))
    def link(self, name: str, to: str) -> None:
        self._free(name).symlink_to(to)
        self.disk = self.look()

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        self._gone(self.top / name)
        self.disk = self.look()

    @rule(words=st.sampled_from([("add", "-A"), ("reset", "-q"), ("commit", "-qam", "mine"), ("stash", "-q")]))
    def git(self, words: tuple[str, ...]) -> None:
        git = self.ground.git
        if words[0] == "stash":
            git("stash", "-q", "-u")
        elif words[0] == "commit":
            git("commit", "-q", "--allow-empty", "-am", "mine")
        else:
            git(*words)
        self.disk = self.look()

    def _free(self, name: str) -> Path:
        """Nothing is there, and nothing on the way but folders."""
        path = self.top / name
        for above in reversed(path.relative_to(self.top).parents[:-1]):
            if (self.top / above).is_symlink() or not (self.top / above).is_dir():
                self._gone(self.top / above)
        self._gone(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _gone(self, path: Path) -> None:
        if any(one.is_symlink() for one in path.parents if one.is_relative_to(self.top)):
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif os.path.lexists(path):
            path.unlink()

    # What is proven

    @rule()
    def keep(self) -> None:
        self._know(self.ground.checkpoint(), self.disk)

    def _know(self, commit: str, disk: Disk) -> None:
        self.kept[commit] = self.seen(disk)
        self.order.append(commit)

    @rule(which=WHICH)
    def back(self, which: int) -> None:
        self._to(self._one(which), ())

    def _one(self, which: int) -> str:
        """Of what was kept, by age: the ids of commits differ from run to run."""
        return self.order[which % len(self.order)]

    @rule(which=WHICH, names=st.sets(st.sampled_from(["a", "d", "d/x", "b.txt", "code.py", "src"]), min_size=1))
    def some_back(self, which: int, names: set[str]) -> None:
        to = self._one(which)
        known = {**self.kept[to], **self.seen(self.disk)}
        names = {one for one in names if any(self._covers(one, name) for name in known)}
        assume(names)
        self._to(to, sorted(names))

    @rule(which=WHICH, at=st.integers(0, 6))
    def back_although_it_dies(self, which: int, at: int) -> None:
        to = self._one(which)
        run, left = Tree.run, [at]

        def dies(tree: Tree, own: dict[str, str], *words: str, content: bytes = b"") -> bytes:
            if left[0] == 0:
                raise Died
            left[0] -= 1
            return run(tree, own, *words, content=content)

        def apply(tree: Tree, plan: Plan) -> None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Tree, "run", dies)
                _apply(tree, plan)

        _apply = rollback._apply
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rollback, "_apply", apply)
            try:
                self._to(to, ())
            except Died:
                patch.undo()
                self.disk = self._expected(to, ())
                rollback.finished(self.ground.tree, "20260101")
                assert self.ground.refs() == []

    def _to(self, to: str, names: list[str] | tuple[()]) -> None:
        before, expected = self.disk, self._expected(to, names)
        stays = {name: one for name, one in before.items() if ignored(name)}
        gives_way = [*clashes(expected, stays), *clashes(stays, self.kept[to] if not names else expected)]
        assume(not names or not [*clashes(expected, expected)])
        try:
            undo = self.ground.back(to, *names)
        except NotPossible:
            assert gives_way, "only ignored files are a reason"
            return
        assert not gives_way
        self._know(undo, before)
        self.disk = expected

    def _expected(self, to: str, names: list[str] | tuple[()]) -> Disk:
        if not names:
            stays = {name: one for name, one in self.disk.items() if ignored(name)}
            return {**stays, **self.kept[to]}
        stays = {
            name: one
            for name, one in self.disk.items()
            if ignored(name) or not any(self._covers(by, name) for by in names)
        }
        chosen = {name: one for name, one in self.kept[to].items() if any(self._covers(by, name) for by in names)}
        return {**stays, **chosen}

    @staticmethod
    def _covers(by: str, name: str) -> bool:
        return name == by or name.startswith(f"{by}/")


@pytest.mark.requirement("WS-5", "WS-1")
def test_the_bytes_are_always_those_that_the_model_says(made: Path, home: Path) -> None:
    class Here(Model):
        origin = made

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=sized(300, 8),
            stateful_step_count=sized(40, 12),
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
            derandomize=sized(0, 1) == 1,
        ),
    )
