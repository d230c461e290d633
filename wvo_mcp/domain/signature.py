"""What of an error text is the same the next time: its signature.

Out go what differs from run to run: escape sequences, times, numbers, addresses, hashes, paths, names in quotes, secrets. Of
the rest the lines that say what went wrong are kept, most telling first, and the names of the first frames beside them.
To normalise a signature is to get it again. Time grows with the length of the text alone: each expression begins at a
beginning of a word, and gives nothing back.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from wvo_mcp.domain.redaction import redact

HEAD, TAIL = 16_000, 48_000
"""Characters that are looked at, at both ends of a text."""
LINE = 300
LINES = 3
FRAMES = 3

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*+[ -/]*+[@-~]?|\][^\x07\x1b\n]*+\x07?|.)?|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_URL = re.compile(r"(?<![\w+.-])[a-zA-Z][a-zA-Z0-9+.-]{1,15}+://[^\s'\"<>)\]`]++")
_QUOTED = re.compile(
    r"(?<!\w)'([^'\n]{0,200}+)'(?!\w)|\"([^\"\n]{0,200}+)\"|`([^`'\n]{0,200}+)[`']"
    r"|[\u2018\u201c]([^\u2019\u201d\n]{0,200}+)[\u2019\u201d]"
)
_QUOTE = re.compile(r"(?<![A-Za-z])['\u2019]|['\u2019](?![A-Za-z])|[\"`\u2018\u201c\u201d]")
_NESTED = 3
_PATH = re.compile(r"(?<![\w.@~+$-])(?:[A-Za-z]:(?=[\\/]))?+(?:[\w.@~+$-]*+[\\/]++)++[\w.@~+$-]*+(?::\d++)*+")
_WORD = re.compile(r"(?<![\w.$-])[\w$-][\w.$-]*+")
_PLACED = re.compile(r"<path>(?:[:(,] ?<n>\)?)+")
_FILE = re.compile(
    r"\.(?:py|pyi|js|mjs|cjs|jsx|ts|tsx|vue|go|mod|sum|rs|java|kt|scala|c|cc|cpp|cxx|h|hpp|cs|rb|php|ex|swift|json|ya?ml|toml"
    r"|lock|txt|csv|xml|html|css|md|sh|bash|so|o|a|exe|dll|jar|war|class|log|db|sqlite|sql|zip|tar|gz|tgz|whl|egg|ini|cfg|conf"
    r"|elf|png|jpe?g|gif|svg|bin|ipynb)(?:\.\d+)*$",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[\d._-]*\d[\d._x-]*(?:[a-zA-Z%]{1,4})?$|0x[0-9a-fA-F]+$")
_DIGITS = re.compile(r"\d+")
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT[\d.:]*Z?$")
_CODE = re.compile(
    r"(?:[A-Z]{1,6}-?\d{3,5}|E(?!RROR|XCEPT|XPECT|XTERN|XIST|NVIRON|NABLE|MPTY|ITHER|VERY)[A-Z]{4,}|ERR?_[A-Z_]+"
    r"|SIG[A-Z]{3,}|[A-Z]+(?:_[A-Z]+)*_(?:FAILED|DENIED|ERROR|FOUND|UNSUPPORTED)|SQL[0-9A-Z]{5}|ERROR\d+)$"
)
_EXCEPTION = re.compile(r"[\w.]*(?:error|exception|panic|interrupt)$", re.IGNORECASE)
_SQLSTATE = re.compile(r"(?:SQLSTATE[ \[:]{1,2}|\bcode['\"]?[:=] ?['\"])([0-9A-Z]{5})(?![0-9A-Za-z_])")
_NUMBERED = re.compile(r"(?:\bERROR (?=\d{4}[ ,(:])|\((?=\d{4}, ))(\d{4})")
_SENTENCE = re.compile(
    r"(?<=[.!?])[)'\"]? +(?=[A-Z<\[])|(?<=;) +|(?<=\S) +\(?Caused by |(?<=\S) -> | +(?=(?:DETAIL|HINT|CONTEXT|STATEMENT): )"
)
_BEGINS = re.compile(
    r"(?<![\w.])(?:[\w.]+(?:Error|Exception)(?=[:\s\[(])"
    r"|(?:[Ee]rror|ERROR|[Ff]atal(?: error)?|FATAL(?: ERROR)?|panic)(?=[\[:]))"
)
"""A message begins here, whatever was said before it."""
_CALL = re.compile(r"(?<=\w)\((?=\D)[^()\s]{1,200}+\)")
_TOKEN = re.compile(r"<[a-z]+>|[A-Za-z_$][\w$]*+(?:\.[\w$]++)*+(?:'t\b)?")
_FRAME = re.compile(
    r"\s*(?:File \"[^\"\n]{0,500}\", line \d+, in (?P<py>[\w.<>]+)|at (?:async |new )?(?P<js>[\w.$#<>]+) ?\()"
)
_NOT_SAID = re.compile(
    r"\s*(?:File \"|at |\d+ ?\||\||--> |= help|[~^-]+\s*$|Traceback \(|During handling|The above exception|\[Previous line"
    r"|raise |import |from |return |goroutine \d|<--- )|.*[{(;]\s*$"
)
_RESULT = re.compile(
    r"exit(?:ed|s)? (?:with )?(?:an unexpected )?(?:code|status)|returned (?:a )?non-?zero|[Pp]rocess completed|aborting due to"
    r"|could not compile|[Cc]ommand failed|build failed|complete log of this run|more information about this error"
    r"|run the command again|[Pp]ress any key|did not complete successfully|most recent call last|exit <n>"
    r"|compilation terminated|crashed - waiting|^make|recipe for target|Error \d+$|Failed building|likely not a problem"
)
_MARK = re.compile(r"(?:^|[^\w])(?:error|fatal(?: error)?|panic|failure|err!)(?:\[| ?:|!)", re.IGNORECASE)
_FAILURE = re.compile(
    r"\b(?:(?P<plain>can ?not|can't|could(?: not|n't)|unable|denied|refus(?:ed|ing)|rejected|not found|no such|(?:does|do) not"
    r"|undefined|not|no|violates|locked|exceeded|out of memory|no space left)|fail(?:ed|ure|s)|missing|invalid|duplicate"
    r"|un(?:declared|expected|supported|known|resolved)|time(?:out|d out)|mismatch(?:ed)?|conflicts?|limit|full|required|exists"
    r")\b",
    re.IGNORECASE,
)
_TYPES = frozenset({"NoneType", "None", "undefined", "null", "nil"})
"""In quotes these say what went wrong; other names are somebody's."""
_WEAK = frozenset(
    """
    a about again all already an and any are as at be because been but by can cannot can't char column could did do does
    during due directory e er err error errors fail failed failure fatal file for found from get got had has have how i if in
    info into is it its line may more most my no not of on one only or other out please run see should so some stderr stdout
    such than that the their them then there these they this to trying try up use used using warn warning was we were when
    while will with would you your
    """.split()  # noqa: SIM905 - a list of them would be a hundred lines
)
_GONE = frozenset({"<path>", "<n>", "<id>", "<q>", "<url>", "<time>"})


@dataclass(frozen=True, slots=True)
class Term:
    """A word of a line, in small letters. `weight` says how much a word of its kind tells."""

    word: str
    weight: float


@dataclass(frozen=True)
class Signature:
    """Two errors with the same `key` are the same to us."""

    lines: tuple[str, ...]
    frames: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @cached_property
    def terms(self) -> tuple[tuple[Term, ...], ...]:
        """By line."""
        return tuple(tuple(terms_of(line)) for line in self.lines)

    @cached_property
    def line_keys(self) -> tuple[str, ...]:
        return tuple(_hash(" ".join(term.word for term in line)) for line in self.terms)

    @cached_property
    def key(self) -> str:
        """Of the words of its lines, whatever stood between them."""
        return _hash("\n".join(" ".join(term.word for term in line) for line in self.terms))

    @cached_property
    def index(self) -> dict[str, float]:
        """The words to find it by, with what each tells; a whole line is one more word."""
        found: dict[str, float] = {}
        for line in self.terms:
            for term in line:
                if term.weight > WEAK:
                    found[term.word] = max(found.get(term.word, 0.0), term.weight)
        for key in self.line_keys:
            found[f"={key[:16]}"] = 4.0
        return dict(sorted(found.items(), key=lambda one: -one[1])[:MOST_TERMS])


_RIM = "-=_*#│\u00d7\u2715\u25cf\u276f· "
WEAK, WORD, NAME, EXCEPTION, CODE = 0.25, 1.0, 1.5, 1.75, 3.0
MOST_TERMS = 40


def signature(text: str) -> Signature:
    """What is the same of it the next time. It has no line where the text has no word."""
    plain = _ESCAPES.sub("", redact(_cut(text)).replace("\r", "\n"))
    written = [line[:1_000] for line in plain.split("\n")]
    scored: list[tuple[int, bool, int, str]] = []
    other: list[str] = []
    ends: dict[str, int] = {}
    """By line: what the chain says that it ends, if any."""
    for line, of in _segments(written):
        ends[line] = max(ends.get(line, 0), 0 if line is of else _says(of) - 1)
    for line, chain in ends.items():
        words = list(terms_of(line))
        strong = sum(term.weight > WEAK for term in words)
        if not strong and len(words) < 4:
            continue
        score = max(_says(line), chain) - (_ALONE if len(words) < 2 else 0)
        if score >= _LEAST:
            scored.append((-score, chain > 0, len(scored), line))
        elif strong > 1 and not chain and _RESULT.search(line) is None:
            other.append(line)
    scored.sort()
    best = -scored[0][0] if scored else 0
    lines = [line for score, _, _, line in scored if -score >= best - _SPREAD][:LINES]
    if not lines:
        lines = list(dict.fromkeys([*other[:1], *other[-1:]])) or [line for line in ends if any(terms_of(line))][:1]
    return Signature(tuple(lines), tuple(_frames(written)))


_LEAST, _SPREAD, _ALONE = 2, 5, 4


def _cut(text: str) -> str:
    """Its ends, without the words that the cut went through: half a secret is not known for one."""
    if len(text) <= HEAD + TAIL:
        return text
    head, tail = text[:HEAD], text[-TAIL:]
    ends = max(head.rfind(" "), head.rfind("\n"))
    begins = min((place for place in (tail.find(" "), tail.find("\n")) if place >= 0), default=TAIL)
    return f"{head[: max(0, ends)]}\n{tail[begins:]}"


def terms_of(line: str) -> Iterator[Term]:
    """The words of a masked line."""
    for found in _TOKEN.finditer(line):
        word = found.group()
        if word in _GONE:
            continue
        small = word.lower()
        if _CODE.match(word):
            yield Term(small, CODE)
        elif word in _TYPES or "." in word:
            yield Term(small, NAME)
        elif len(word) > 6 and _EXCEPTION.match(word):
            yield Term(small, EXCEPTION)
        else:
            yield Term(_singular(small), WEAK if small in _WEAK or len(word) == 1 else WORD)


def _singular(word: str) -> str:
    if len(word) < 5 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    return f"{word[:-3]}y" if word.endswith("ies") else word[:-1]


def _segments(written: list[str]) -> Iterator[tuple[str, str]]:
    """What is said, with what it is the end of: itself, or a chain of causes."""
    for said in (part for line in written for part in _settled(line)):
        yield said, said
        before, _, cause = said.rpartition(": ")
        if ": " in before and sum(term.weight > WEAK for term in terms_of(cause)) >= 3 and _parts(cause) == [cause]:
            yield cause, said  # the end of a chain says what it came from


def _settled(line: str, deep: int = 0) -> Iterator[str]:
    """Its parts as they stay when they are normalised again."""
    for part in _parts(line) if deep < _SETTLES else ():
        if _parts(part) == [part]:
            yield part
        else:
            yield from _settled(part, deep + 1)


def _parts(line: str) -> list[str]:
    if _NOT_SAID.match(line) and not _CODED.search(line):
        return []
    tidy = (" ".join(part.split()).lstrip(_RIM + ">!").rstrip(_RIM + ";{(,") for part in _SENTENCE.split(_masked(line)))
    begun = (_begun(part) for part in tidy)
    return [part for one in begun if (part := one if len(one) <= LINE else one[:LINE].rpartition(" ")[0] or one[:LINE])]


_SETTLES = 5
_CODED = re.compile(r"\b(?:TS\d{4}|E\d{4}|E[A-Z]{4,})\b")


def _begun(line: str) -> str:
    """From where the message begins, with the codes that stood before."""
    found = _BEGINS.search(line)
    if found is None or found.start() == 0:
        return line
    codes = [term for term in _TOKEN.findall(line[: found.start()]) if _CODE.match(term)]
    return " ".join([*codes, line[found.start() :]])


def _masked(line: str) -> str:
    line = _SQLSTATE.sub(r"SQL\1", line)
    line = _NUMBERED.sub(r"ERROR\1", line)
    line = _URL.sub("<url>", line)
    for _ in range(_NESTED):
        line, found = _QUOTED.subn(_unquoted, line)
        if not found:
            break
    line = _CALL.sub("()", _QUOTE.sub("", line))
    line = _PATH.sub(_place, line)
    return _QUOTE.sub("", _PLACED.sub("<path>", _WORD.sub(_word, line)))


def _unquoted(found: re.Match[str]) -> str:
    text = next((group for group in found.groups() if group is not None), "")
    if text in _TYPES:
        return text
    said = len(text.split()) >= 4 and not any(char in text for char in "{}[]<>=|")
    return text if said else "<q>"


def _place(found: re.Match[str]) -> str:
    text = found.group()
    sides = text.replace("\\", "/").split("/")
    words = len(sides) == 2 and all(side.isalpha() and len(side) < 6 for side in sides)
    return text if words else "<path>"


def _word(found: re.Match[str]) -> str:
    text = found.group()
    if _CODE.match(text):
        return text
    if _NUMBER.match(text):
        return "<n>"
    if _STAMP.match(text):
        return "<time>"
    if _FILE.search(text):
        return "<path>"
    bare = text.rstrip(".")
    if len(bare) >= 8 and _random(bare):
        return "<id>"
    if "." in bare and _EXCEPTION.match(bare):
        return bare.rpartition(".")[2] + text[len(bare) :]
    if any(char.isdigit() for char in text):
        return _DIGITS.sub("", text).strip("._-$") or "<n>"
    return text


def _random(text: str) -> bool:
    """A hash, a key, an address: long, of letters and digits, or of hexadecimal digits."""
    digits = sum(char.isdigit() for char in text)
    if digits and all(char in "0123456789abcdefABCDEF-" for char in text):
        return True
    return len(text) >= 20 and digits >= 2 and "." not in text


def _says(line: str) -> int:
    """How much a masked line looks like the one that says what went wrong."""
    score = 0
    kinds = [term.weight for term in terms_of(line)]
    if EXCEPTION in kinds:
        score += 5
    if CODE in kinds:
        score += 5
    if _MARK.search(line):
        score += 3
    score += min(4, sum(2 if found["plain"] else 1 for found in _FAILURE.finditer(line)))
    if _RESULT.search(line):
        score -= 5
    return score


def _frames(written: list[str]) -> list[str]:
    names: list[str] = []
    is_python = False
    for line in written:
        found = _FRAME.match(line)
        name = None if found is None else found["py"] or found["js"]
        if found is None or not name or name.startswith("<") or name.lower() in ("object", "module"):
            continue
        is_python = is_python or found["py"] is not None
        names.append(name.rpartition(".")[2].lower()[:60])
    distinct = list(dict.fromkeys(reversed(names) if is_python else names))
    return distinct[:FRAMES]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
