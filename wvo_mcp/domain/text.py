"""What texts and ids may look like (contract, section 6), as annotated types that every input model uses."""

import difflib
import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, Field

ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
TITLE_CHARACTERS = 500
TEXT_CHARACTERS = 16_000


def is_id(text: str) -> bool:
    """True for an id of the contract: 1 to 64 of letters, digits, `.`, `_`, `-`, the first a letter or digit."""
    return re.fullmatch(ID_PATTERN, text) is not None


def as_id(text: str) -> str:
    """The nearest legal id: other characters become `-`, the length is cut. `x` when nothing is left."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip("._-")[:64] or "x"


def near(wanted: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """Up to `limit` known ids that look like `wanted`, best first."""
    folded = {name.casefold(): name for name in known}
    return [folded[name] for name in difflib.get_close_matches(wanted.casefold(), folded, n=limit, cutoff=0.6)]


def did_you_mean(wanted: str, known: Iterable[str], limit: int = 3) -> str:
    """` Did you mean A or B?`, or nothing when nothing looks like `wanted`."""
    matches = near(wanted, known, limit)
    return f" Did you mean {' or '.join(matches)}?" if matches else ""


def storable(text: str) -> str:
    """The text itself. Raises ValueError on NUL and lone surrogates, which no UTF-8 database can hold."""
    if "\x00" in text:
        raise ValueError("contains a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"contains a lone surrogate at character {error.start}") from None
    return text


def _checked_id(text: str) -> str:
    # A pattern in the schema would cost tokens in every tool; `$` would also let a final newline pass.
    if not is_id(text):
        raise ValueError("an id has 1 to 64 of letters, digits, '.', '_', '-' and starts with a letter or digit")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


Id = Annotated[str, AfterValidator(_checked_id)]
Text = Annotated[str, Field(max_length=TEXT_CHARACTERS), AfterValidator(storable)]
Prose = Annotated[str, Field(max_length=TEXT_CHARACTERS), AfterValidator(storable), AfterValidator(_not_blank)]
Title = Annotated[str, Field(max_length=TITLE_CHARACTERS), AfterValidator(storable), AfterValidator(_not_blank)]
Label = Annotated[str, Field(max_length=100), AfterValidator(storable), AfterValidator(_not_blank)]
FileGlob = Annotated[str, Field(max_length=300), AfterValidator(storable), AfterValidator(_not_blank)]
Reference = Annotated[str, Field(max_length=2_000), AfterValidator(storable), AfterValidator(_not_blank)]
