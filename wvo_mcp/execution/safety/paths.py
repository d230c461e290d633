"""Paths as commands name them, made canonical: what a symbolic link leads to is what counts."""

import glob
import os
from collections.abc import Iterator
from itertools import islice

_MOST_MATCHES = 1_000
_PATTERN = frozenset("*?[")


def resolve(path: str, cwd: str) -> Iterator[str]:
    """The canonical paths that it names from `cwd`; of a pattern its folder and its matches too. It need not exist."""
    whole = os.path.join(cwd, path)  # noqa: PTH118 - an absolute path replaces the folder; text in, text out
    yield os.path.realpath(whole)
    if _PATTERN & set(path):
        fixed = whole[: min(whole.find(one) for one in _PATTERN if one in whole)]
        yield os.path.realpath(fixed.rpartition("/")[0] or "/")
        try:
            found = islice(glob.iglob(whole, include_hidden=True), _MOST_MATCHES)  # noqa: PTH207 - as above
            yield from (os.path.realpath(one) for one in found)
        except (OSError, ValueError):
            return
