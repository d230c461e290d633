"""Every form that a repository may have, for `life`."""

import os
from collections.abc import Callable

from tests.orchestration.merging.life import Odd, Shop
from tests.support.yard import git


def usual(shop: Shop) -> None:
    shop.write("code.py", "a = 2\n")
    shop.write("new/file.py", "b = 1\n")


# Where the repository is


def sha256(shop: Shop) -> None:
    root = shop.tmp / "long"
    root.mkdir()
    git(root, "init", "-q", "-b", "main", "--object-format=sha256")
    shop.moved(root)
    shop.yard.write(root, {"code.py": "a = 1\n", ".gitignore": "*.log\nstate/\n", "mine.py": "mine\n"})
    shop.save({})


def separate(shop: Shop) -> None:
    """`.git` is a file that names a folder elsewhere."""
    shop.git_dir = shop.tmp / "kept.git"
    shop.person("init", "-q", f"--separate-git-dir={shop.git_dir}")


def submodule_is_project(shop: Shop) -> None:
    whole = shop.tmp / "whole"
    whole.mkdir()
    git(whole, "init", "-q", "-b", "main")
    git(whole, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(shop.top), "lib")
    shop.moved(whole / "lib", git_dir=whole / ".git/modules/lib")


def core_worktree(shop: Shop) -> None:
    """The files are in another folder than `.git`."""
    files = shop.tmp / "files"
    files.mkdir()
    for path in shop.top.iterdir():
        if path.name != ".git":
            path.rename(files / path.name)
    git(shop.top, "config", "core.worktree", str(files))
    shop.top = files
    (files / ".git").write_text(f"gitdir: {shop.git_dir}\n")


def bare(shop: Shop) -> None:
    git(shop.tmp, "clone", "-q", "--bare", str(shop.top), "bare.git")
    shop.moved(shop.tmp / "bare.git", git_dir=shop.tmp / "bare.git")


def worktree_of_bare(shop: Shop) -> None:
    bare(shop)
    git(shop.top, "worktree", "add", "-q", str(shop.tmp / "side"), "main")
    shop.moved(shop.tmp / "side", git_dir=shop.tmp / "bare.git")


def linked(shop: Shop) -> None:
    shop.person("switch", "-q", "-c", "other")
    shop.person("worktree", "add", "-q", str(shop.tmp / "side"), "main")
    shop.moved(shop.tmp / "side", git_dir=shop.top / ".git")


def shallow(shop: Shop) -> None:
    shop.save({"more.py": "1\n"})
    git(shop.tmp, "clone", "-q", "--depth=1", f"file://{shop.top}", "shallow")
    shop.moved(shop.tmp / "shallow")


def partial(shop: Shop) -> None:
    shop.save({"old.py": "1\n"})
    shop.person("config", "uploadpack.allowFilter", "true")
    git(shop.tmp, "clone", "-q", "--filter=blob:none", f"file://{shop.top}", "partial")
    shop.moved(shop.tmp / "partial")


def alternates(shop: Shop) -> None:
    git(shop.tmp, "clone", "-q", "--shared", str(shop.top), "shared")
    shop.moved(shop.tmp / "shared")


def odd_path(shop: Shop) -> None:
    root = shop.tmp / 'a:b "c" \n-é'
    shop.top.rename(root)
    shop.moved(root)


def other_owner(shop: Shop) -> None:
    if os.geteuid() == 0:
        for path in (shop.top, shop.top / ".git"):
            os.chown(path, 12_345, 12_345)


# What its config and its files say


def told(*settings: str) -> Callable[[Shop], None]:
    """With settings, KEY=VALUE, of the repository."""

    def form(shop: Shop) -> None:
        for one in settings:
            key, _, value = one.partition("=")
            shop.person("config", key, value)

    return form


def split_index(shop: Shop) -> None:
    shop.person("config", "core.splitIndex", "true")
    shop.person("update-index", "--split-index")


def version_4(shop: Shop) -> None:
    shop.person("config", "index.version", "4")
    shop.person("update-index", "--index-version", "4")


def untracked_cache(shop: Shop) -> None:
    shop.person("config", "core.untrackedCache", "true")
    shop.person("update-index", "--untracked-cache")
    shop.person("status")


def many_refs(shop: Shop) -> None:
    tip = shop.person("rev-parse", "main")
    lines = [f"{tip} refs/tags/t{number}" for number in range(20_000)]
    head = "# pack-refs with: peeled fully-peeled sorted \n"
    (shop.git_dir / "packed-refs").write_text(head + "\n".join(sorted(lines, key=lambda one: one[41:])) + "\n")


def replaced(shop: Shop) -> None:
    shop.save({"two.py": "2\n"})
    shop.save({"three.py": "3\n"})
    shop.person("replace", "--graft", "HEAD")


def grafted(shop: Shop) -> None:
    shop.save({"two.py": "2\n"})
    (shop.git_dir / "info" / "grafts").write_text(shop.person("rev-parse", "HEAD") + "\n")


def sparse(cone: bool, index: bool = False) -> Odd:
    def form(shop: Shop) -> None:
        shop.save({"kept/a.py": "a\n", "away/b.py": "b\n", "away/c.py": "c\n"})
        shop.person(
            "sparse-checkout", "set", "--cone" if cone else "--no-cone", *(["kept"] if cone else ["/*", "!/away"])
        )
        if index:
            shop.person("sparse-checkout", "set", "--sparse-index", "kept")
        assert not (shop.top / "away").exists()

    def work(shop: Shop) -> None:
        usual(shop)
        shop.write("kept/a.py", "A\n")
        shop.write("away/b.py", "B\n")
        shop.write("away/new.py", "N\n")

    def check(shop: Shop) -> None:
        names = shop.yard.names("main")
        assert {"kept/a.py", "away/b.py", "away/c.py", "away/new.py"} <= names
        assert shop.yard.show("main", "away/b.py") == "B"

    return Odd(form=form, work=work, check=check, exact=False)


def sparse_and_widened() -> Odd:
    def form(shop: Shop) -> None:
        shop.save({"kept/a.py": "a\n", "away/b.py": "b\n", "away/c.py": "c\n"})
        shop.person("sparse-checkout", "set", "kept")

    def work(shop: Shop) -> None:
        shop.agent("sparse-checkout", "add", "away")
        (shop.path / "away/c.py").unlink()
        shop.write("away/b.py", "B\n")

    def check(shop: Shop) -> None:
        assert "away/c.py" not in shop.yard.names("main")

    return Odd(form=form, work=work, check=check, exact=False)


def sparse_by_agent() -> Odd:
    """The agent wants to see a part alone: what it does not see is not removed."""

    def form(shop: Shop) -> None:
        shop.save({"kept/a.py": "a\n", "away/b.py": "b\n"})
        shop.person("config", "extensions.worktreeConfig", "true")

    def work(shop: Shop) -> None:
        shop.agent("sparse-checkout", "set", "kept")
        assert not (shop.path / "away").exists()
        shop.write("kept/a.py", "A\n")

    def check(shop: Shop) -> None:
        assert "away/b.py" in shop.yard.names("main")

    return Odd(form=form, work=work, check=check, exact=False)


def worktree_config(shop: Shop) -> None:
    shop.person("config", "extensions.worktreeConfig", "true")
    shop.person("config", "--worktree", "filter.w.clean", str(shop.tmp / "canary"))
    shop.person("config", "--worktree", "filter.w.smudge", str(shop.tmp / "canary"))


def detached(shop: Shop) -> None:
    shop.person("switch", "-q", "--detach")
    shop.lane.rule(target="main")


REPOSITORIES: dict[str, Odd] = {
    "usual": Odd(work=usual),
    "sha256": Odd(form=sha256, work=usual),
    "separate": Odd(form=separate, work=usual),
    "submodule_is_project": Odd(form=submodule_is_project, work=usual),
    "core_worktree": Odd(form=core_worktree, work=usual),
    "bare": Odd(form=bare, work=usual),
    "worktree_of_bare": Odd(form=worktree_of_bare, work=usual),
    "linked": Odd(form=linked, work=usual),
    "shallow": Odd(form=shallow, work=usual),
    "partial": Odd(form=partial, work=usual),
    "alternates": Odd(form=alternates, work=usual),
    "odd_path": Odd(form=odd_path, work=usual),
    "other_owner": Odd(form=other_owner, work=usual),
    "split_index": Odd(form=split_index, work=usual),
    "version_4": Odd(form=version_4, work=usual),
    "untracked_cache": Odd(form=untracked_cache, work=usual),
    "many_refs": Odd(form=many_refs, work=usual),
    "replaced": Odd(form=replaced, work=usual),
    "grafted": Odd(form=grafted, work=usual),
    "sparse_cone": sparse(True),
    "sparse": sparse(False),
    "sparse_and_widened": sparse_and_widened(),
    "sparse_by_agent": sparse_by_agent(),
    "sparse_index": sparse(True, index=True),
    "worktree_config": Odd(form=worktree_config, work=usual),
    "detached": Odd(form=detached, work=usual),
    "precompose": Odd(form=told("core.precomposeUnicode=true", "core.protectHFS=true"), work=usual),
    "ignore_stat": Odd(
        form=told("core.ignoreStat=true", "core.checkStat=minimal", "core.trustctime=false"), work=usual
    ),
}
