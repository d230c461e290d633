"""Everything that an agent may do to files, for `life`."""

import os
import shutil
import subprocess

from tests.orchestration.merging.life import PAT, Odd, Shop
from tests.orchestration.merging.repositories import told
from tests.support.yard import git

NAMES: tuple[bytes, ...] = (
    *(b"line\nend", b'quo"te', b"it's", b"-rf", b"--", b":(glob)x", b":/x", b"latin-\xe9", b"trailing ", b" leading"),
    *(b"tab\there", b"back\\slash", b"n" * 255, b"d" * 200 + b"/" + b"e" * 200 + b"/" + b"f" * 200, b"*", b"?", b"[x]"),
    *("é".encode(), "e\u0301".encode(), b"Case", b"case", b"CASE/x", b"sub/.gitmodules", b"$HOME"),
    *(
        b"nul",
        b"con.txt",
        b"HEAD",
        b"~",
        b"a=b",
        b"%00",
        b"\x7f\x01",
        b".git-not",
        b"refs/heads/main",
        b"a\rb",
        b"\xff\xfe/\xff",
    ),
)


def named(shop: Shop) -> None:
    for number, name in enumerate(NAMES):
        shop.write(name, f"{number}\n")


def check_named(shop: Shop) -> None:
    there = subprocess.run(
        ["git", *PAT, "ls-tree", "-r", "-z", "--name-only", "main"], cwd=shop.top, capture_output=True, check=True
    ).stdout.split(b"\0")
    assert set(NAMES) <= set(there)
    for number, name in enumerate(NAMES):
        assert (shop.top / os.fsdecode(name)).read_text() == f"{number}\n"


def links_before(shop: Shop) -> None:
    (shop.tmp / "outside").mkdir()
    (shop.tmp / "outside/theirs").write_text("theirs\n")
    shop.save({"folder/in.py": "1\n", "real/in.py": "1\n"})
    (shop.top / "to-folder").symlink_to("folder")
    (shop.top / "dangling").symlink_to("nowhere")
    shop.save({})


def links(shop: Shop) -> None:
    (shop.path / "outward").symlink_to(shop.tmp / "outside")
    (shop.path / "self").symlink_to("self")
    (shop.path / "dangling").unlink()
    (shop.path / "dangling").symlink_to("other\nwhere")
    (shop.path / "to-folder").unlink()
    shop.write("to-folder/now.py", "a folder\n")
    shutil.rmtree(shop.path / "real")
    (shop.path / "real").symlink_to("../" * 9 + "etc")


def check_links(shop: Shop) -> None:
    assert (shop.tmp / "outside/theirs").read_text() == "theirs\n"
    assert [*(shop.tmp / "outside").iterdir()] == [shop.tmp / "outside/theirs"]
    assert (shop.top / "to-folder/now.py").read_text() == "a folder\n"
    assert os.readlink(shop.top / "dangling") == "other\nwhere"  # noqa: PTH115
    assert (shop.top / "real").is_symlink()


def modes(shop: Shop) -> None:
    (shop.path / "code.py").chmod(0o755)
    shop.write("tool").chmod(0o755)
    shop.write("closed").chmod(0o644)


def lines(shop: Shop) -> None:
    shop.write("dos.txt", "a\r\nb\r\n")
    shop.write("unix.txt", "a\nb\n")
    shop.write("mixed.txt", "a\r\nb\nc\r")
    shop.write("binary", b"\0\r\n\n\r")
    shop.write("code.py", "a = 2\r\n")


def attributes(text: str, *more: tuple[str, bytes]) -> Odd:
    """That the agent plants."""

    def work(shop: Shop) -> None:
        lines(shop)
        shop.write(".gitattributes", text)
        for name, content in more:
            shop.write(name, content)

    return Odd(work=work, exact=False)


def drivers(shop: Shop) -> None:
    """The agent names every program that the person has configured."""
    shop.write(".gitattributes", "* filter=x diff=x merge=x\n*.py filter=w ident export-subst\n")
    shop.write("code.py", "a = 2\n")


def drivers_before(shop: Shop) -> None:
    program = str(shop.tmp / "canary")
    shop.person("config", "extensions.worktreeConfig", "true")
    for name, where in (("x", "--local"), ("w", "--worktree")):
        for what in ("clean", "smudge", "process"):
            shop.person("config", where, f"filter.{name}.{what}", program)
        shop.person("config", where, f"filter.{name}.required", "true")


def advanced_by_hand(shop: Shop) -> None:
    """The person has looked at it, and does as they were told."""
    shop.person("merge", "-q", "--ff-only", shop.reason.rpartition(" ")[2].rstrip(")"))


def ignored_before(shop: Shop) -> None:
    (shop.top / "kept.log").write_text("tracked\n")
    shop.person("add", "-f", "kept.log")
    shop.person("commit", "-qm", "tracked and ignored")


def ignored(shop: Shop) -> None:
    shop.write("kept.log", "changed\n")
    shop.write("code.py", "a = 2\n")


def empty_folders(shop: Shop) -> None:
    (shop.path / "a/b/c").mkdir(parents=True)
    shop.write("code.py", "a = 2\n")


def cased_before(shop: Shop) -> None:
    """As a repository has it that came from another system."""
    shop.save({"README": "big\n"})
    shop.person("config", "core.ignoreCase", "true")


def cased(shop: Shop) -> None:
    shop.write("readme", "small\n")
    shop.write("Code.py", "big\n")


def check_cased(shop: Shop) -> None:
    assert {"README", "readme", "Code.py", "code.py"} <= shop.yard.names("main")
    assert ((shop.top / "README").read_text(), (shop.top / "readme").read_text()) == ("big\n", "small\n")


def module(shop: Shop) -> None:
    """A repository `part` is the submodule `lib` of the shop, one commit behind."""
    part = shop.tmp / "part"
    part.mkdir()
    git(part, "init", "-q", "-b", "main")
    for number in (1, 2):
        (part / "a.py").write_text(f"{number}\n")
        git(part, "add", "a.py")
        git(part, *PAT, "commit", "-qm", str(number))
    shop.person("submodule", "--quiet", "add", str(part), "lib")
    shop.person("checkout", "-q", "HEAD^", at=shop.top / "lib")
    shop.save({})


def pointer(shop: Shop) -> None:
    """Without ever fetching it, as a tool that only knows the index may do."""
    newer = git(shop.tmp / "part", "rev-parse", "HEAD")
    shop.agent("update-index", "--cacheinfo", f"160000,{newer},lib")
    shop.write("code.py", "a = 2\n")


def fetched(shop: Shop) -> None:
    shop.agent("submodule", "--quiet", "update", "--init")
    git(shop.path / "lib", *PAT, "checkout", "-q", git(shop.tmp / "part", "rev-parse", "HEAD"))
    shop.write("code.py", "a = 2\n")


def check_fetched(shop: Shop) -> None:
    newer = git(shop.tmp / "part", "rev-parse", "HEAD")
    assert newer in shop.person("ls-tree", "main", "lib")
    assert (shop.top / "lib/a.py").read_text() == "1\n", "the person's own checkout of it stays where they left it"
    shop.person("submodule", "--quiet", "update")


def something(shop: Shop) -> None:
    shop.write("code.py", "worse\n")
    shop.write("new/more.py", "worse\n")


REFUSED = (b".GIT/config", b"a.u16", b"b.u16", b"git~1")


def refused(shop: Shop) -> None:
    """Names that git keeps for itself, and files that are not what an attribute says."""
    shop.write(".gitattributes", "*.u16 working-tree-encoding=UTF-16\n")
    shop.write("code.py", "a = 2\n")
    for name in REFUSED:
        shop.write(name, b"\xd8\0\0")


UTF16 = "ü\r\n".encode("utf-16")

WORKS: dict[str, Odd] = {
    "names": Odd(work=named, check=check_named),
    "links": Odd(form=links_before, work=links, check=check_links),
    "modes": Odd(work=modes),
    "modes_unseen": Odd(form=told("core.fileMode=false"), work=modes, exact=False),
    "lines": Odd(work=lines),
    "lines_auto": Odd(form=told("core.autocrlf=true"), work=lines, exact=False),
    "lines_input": Odd(form=told("core.autocrlf=input"), work=lines, exact=False),
    "text_eol": attributes("* text=auto eol=crlf\n"),
    "text_all": attributes("* text\nbinary -text\n"),
    "ident": attributes("* ident\n", ("id.txt", b"$Id$\n$Id: x $\n")),
    "encoded": attributes("*.u16 working-tree-encoding=UTF-16\n", ("a.u16", UTF16)),
    "refused": Odd(work=refused, left_out=REFUSED, wreck=something, exact=False),
    "drivers": Odd(
        form=drivers_before, work=drivers, ends=("parked", "passes through the filter"), mended=advanced_by_hand
    ),
    "ignored": Odd(form=ignored_before, work=ignored),
    "empty_folders": Odd(work=empty_folders),
    "cased": Odd(form=cased_before, work=cased, check=check_cased),
    "pointer": Odd(form=module, work=pointer),
    "fetched": Odd(
        form=module,
        work=fetched,
        wreck=something,
        check=check_fetched,
        left="it holds the submodule lib",
    ),
}
