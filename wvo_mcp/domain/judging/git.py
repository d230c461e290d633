"""git: the worker's own branch is its own; the rest of the repository is shared with people."""

import re
from collections.abc import Sequence

from wvo_mcp.domain.command import SimpleCommand, Word
from wvo_mcp.domain.judging.known import Judgements, ask, is_option, known, matches
from wvo_mcp.domain.judging.reach import Reach
from wvo_mcp.domain.policy import Judgement, Verdict

_LISTING = frozenset(
    {"-v", "-vv", "-a", "-r", "-l", "--list", "--all", "--show-current", "list", "show", "get-url", "--porcelain"}
    | {"--contains"}
)
_READING = frozenset({"--get", "--get-all", "--list", "-l", "get", "list", "--show-origin"})
_TEXT_NEXT = re.compile(r"-[A-Za-z]*m|--message|--author|--date|--grep|-S|-G|--format|--pretty|--since|--until")
_TEXT = re.compile(
    r"(--(message|author|date|grep|format|pretty|since|until|committer|after|before)=|-[SGm]).*", re.DOTALL
)


def git(arguments: Sequence[Word], command: SimpleCommand, reach: Reach) -> Judgements:
    rules, rest = known()["git"], list(arguments)
    while rest and (rest[0].text is None or rest[0].text.startswith("-")):
        option = (rest[0].text or "").partition("=")[0]
        if rest[0].text is None:
            yield ask("git", "an option of git is computed", command.text)
            return
        if option == "-C":
            yield from reach.folder(rest[1] if len(rest) > 1 else None, command.text)
            rest.pop(0)
        elif any(option == one or (len(one) == 2 and option.startswith(one)) for one in rules["options"]):
            reason = f"git {option} changes what git reads, where it works or what it runs: leave it out."
            yield Judgement(_strict(reach), f"git {option}", reason, command.text)
            return
        del rest[:1]
    if not rest:
        return
    verb, given = rest[0].text, rest[1:]
    if verb in rules["denied"]:
        yield from _denied(str(verb), given, command, reach)
        return
    allowed = any(matches(pattern, "git", arguments) for pattern in reach.place.policy.allow)
    if verb in rules["asked"] and not allowed:
        yield ask(f"git {verb}", f"git {verb} reaches beyond this worktree", command.text)
    elif verb not in rules["allowed"] and not allowed:
        yield ask("git", f"git {verb or 'with a computed verb'} may be an alias for anything", command.text)
    for option in rules["running"]:
        if any(is_option(one, option) for one in given):
            yield ask(f"git {option}", f"{option} makes git run or write something else", command.text)
    if verb == "reset" and any(one.text not in ("--hard", "--soft", "--mixed", "-q", "HEAD", "--") for one in given):
        yield ask("git reset", "git reset to another commit may lose work", command.text)
    if verb == "clean" and any(one.start.startswith("-") and re.search("[xX]", one.start) for one in given):
        yield ask("git clean", "git clean -x removes files that git cannot bring back", command.text)
    writes = verb in ("rm", "mv", "restore", "apply")
    yield from reach.arguments(_without_texts(given), command.text, writes=writes)
    if verb == "rm" and not any(one.start.startswith(("--c", "-n", "--dry")) for one in given):
        for one in given:
            if not one.start.startswith("-"):
                whole = Word((".",)) if one.start.startswith(":") else one  # as :/, the top
                yield from reach.path(whole, command.text, writes=True, removes=True)


def _denied(verb: str, given: Sequence[Word], command: SimpleCommand, reach: Reach) -> Judgements:
    """The branch is the worker's own, and stays checked out; the rest of the repository is the person's."""
    texts = [one.text for one in given]
    kinds = ("branch", "tag", "remote", "stash", "worktree", "reflog")
    if verb in kinds and all(text in _LISTING for text in texts) and (verb != "stash" or bool(texts)):
        return
    if verb == "config" and texts[:1] and texts[0] in _READING:
        return
    if verb == "hash-object" and "-w" not in texts:
        yield from reach.arguments(given, command.text, writes=False)
        return
    if verb == "checkout" and "--" in texts[:2]:
        yield from reach.arguments(given[texts.index("--") + 1 :], command.text, writes=True)
        return
    reason = f"git {verb} changes what the whole repository shares; commit on this branch, and leave it checked out."
    yield Judgement(_strict(reach), f"git {verb}", reason, command.text)


def _strict(reach: Reach) -> Verdict:
    """A person who attends may want another branch, or a stash."""
    return Verdict.ASK if reach.place.attended else Verdict.DENY


def _without_texts(given: Sequence[Word]) -> list[Word]:
    """Without messages and patterns, which are no paths."""
    kept, skip = list[Word](), False
    for one in given:
        if not skip and not _TEXT.fullmatch(one.start):
            kept.append(one)
        skip = not skip and _TEXT_NEXT.fullmatch(one.start) is not None
    return kept
