"""What is known of programs (`commands.toml`), and the lists that people write."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from wvo_mcp.domain.command import SimpleCommand, Word
from wvo_mcp.domain.policy import Judgement, SafetyPolicy, Verdict

Judgements = Iterator[Judgement]


@cache
def known() -> Mapping[str, Any]:
    return tomllib.loads(Path(__file__).with_name("commands.toml").read_text("utf-8"))


@cache
def programs(kind: str) -> frozenset[str]:
    return frozenset(known()["programs"][kind])


def ask(rule: str, reason: str, command: str) -> Judgement:
    return Judgement(Verdict.ASK, rule, f"A person must decide: {reason}.", command)


def is_option(word: Word, option: str) -> bool:
    """Is it this option: alone, with `=value`, or for one letter with what follows? One with `*` or `[` is a glob."""
    text = word.start
    if "*" in option or "[" in option:
        return fnmatchcase(text, option)
    if text == option or text.startswith(option + "="):
        return True
    return len(option) == 2 and text.startswith("-") and not text.startswith("--") and text.startswith(option)


def matches(pattern: str, name: str, arguments: Sequence[Word]) -> bool:
    """Does `rm -rf` fit the program and its words? The first is the program's name, the others are found in this order; an
    option of letters is found in any option that has these letters."""
    wanted = pattern.split()
    if not wanted or not fnmatchcase(name, wanted[0]):
        return False
    rest = iter(arguments)
    for want in wanted[1:]:
        letters = set(want[1:]) if re.fullmatch(r"-[A-Za-z]+", want) else None
        for one in rest:
            text = one.text
            if text is None or fnmatchcase(text, want):
                break
            if letters and re.fullmatch(r"-[A-Za-z]+", text) and letters <= set(text[1:]):
                break
        else:
            return False
    return True


def listed(policy: SafetyPolicy, name: str, arguments: Sequence[Word], command: SimpleCommand) -> Judgements:
    """By the lists of the policy and those of the product."""
    for verdict, patterns in ((Verdict.DENY, policy.block), (Verdict.ASK, policy.ask), (Verdict.WATCH, policy.watch)):
        for pattern in patterns:
            if matches(pattern, name, arguments):
                yield Judgement(verdict, pattern, f"The policy of this project lists {pattern!r}.", command.text)
    if name in programs("blocked") or name.startswith("mkfs."):
        yield Judgement(Verdict.DENY, name, f"{name} is never run here.", command.text)
    own = name.replace("_", "-")  # as a module
    if own in known()["people"]:
        yield from _people(own, arguments, command)
    if any(matches(pattern, name, arguments) for pattern in policy.allow):
        return
    if name in programs("asked"):
        yield ask(name, f"{name} reaches beyond the workspace or runs what is not seen here", command.text)
    for option in known()["running"].get(name, ()):
        if any(is_option(one, option) for one in arguments):
            yield ask(
                f"{name} {option}",
                f"{option} makes {name} run, fetch or change something else",
                command.text,
            )
    verb = next((one.text for one in arguments if not one.start.startswith("-")), "")
    if verb is None and name in known()["publishes"]:
        yield ask(name, f"what {name} does is computed", command.text)
    if verb in known()["publishes"].get(name, ()):
        yield ask(f"{name} {verb}", f"{name} {verb} publishes, or changes how that is done", command.text)
    if name in known()["installs"]:
        yield from _installs(name, arguments, command)


def _people(name: str, arguments: Sequence[Word], command: SimpleCommand) -> Judgements:
    verb = next((one.text for one in arguments if not one.start.startswith("-")), "")
    if verb is None:
        yield ask(name, f"what {name} does is computed", command.text)
    elif verb in known()["people"][name] or any(is_option(one, "--allow-cancel") for one in arguments):
        yield Judgement(Verdict.DENY, f"{name} {verb}", f"{name} {verb} is for people only.", command.text)


def _installs(name: str, arguments: Sequence[Word], command: SimpleCommand) -> Judgements:
    rules, texts = known()["installs"][name], [one.text for one in arguments]
    verb = next((index for index, text in enumerate(texts) if text in rules["verbs"]), None)
    if name == "go" and texts[:1] == ["run"] and any("@" in one.start for one in arguments):
        verb = 0
    if verb is None:
        return
    after = iter(texts[verb + 1 :])
    for text in after:
        if text in rules["files"]:
            text = next(after, None)
            wrong = text is None or "://" in text
        else:
            wrong = text is None or (
                not text.startswith(("-", ".", "/"))
                and text not in ("install", "sync", "list", "freeze", "show", "check", "tree", "compile")
            )
        if wrong:
            yield ask(
                f"{name} {texts[verb]}", f"{name} would bring in a package that the project does not name", command.text
            )
            return


def fed(who: str, command: SimpleCommand) -> Judgement:
    """Of code that comes by a pipe or a here-document."""
    fetched = any(re.search(rf"\b{one}\b", command.fed or "") for one in programs("fetchers"))
    if fetched:
        return Judgement(Verdict.WATCH, "piped code", f"What {who} would run is fetched or decoded text.", command.text)
    return ask("piped code", f"what {who} would run is not a file of the workspace", command.text)
