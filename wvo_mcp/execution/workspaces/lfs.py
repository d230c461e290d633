"""Files of Git LFS: a commit has a pointer, and a folder beside git's objects has the content that it names."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces.repository import Common

POINTER = b"version https://git-lfs.github.com/spec/v1\n"
LONGEST = 1_024
"""Bytes of a pointer, as Git LFS has it."""
_FORM = re.compile(re.escape(POINTER) + rb"(?:ext-[^\n]+\n)*oid sha256:([0-9a-f]{64})\nsize ([0-9]{1,18})\n?")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Pointer:
    """`oid` is the SHA-256 of the content."""

    oid: str
    size: int

    @classmethod
    def of(cls, content: bytes) -> "Pointer | None":
        found = _FORM.fullmatch(content) if len(content) < LONGEST else None
        return None if found is None else cls(found[1].decode(), int(found[2]))

    @property
    def text(self) -> bytes:
        return POINTER + f"oid sha256:{self.oid}\nsize {self.size}\n".encode()


@dataclass(frozen=True, slots=True)
class Contents:
    """What the repository has of them, in `folder`."""

    folder: Path

    @classmethod
    def of(cls, common: Common) -> "Contents":
        """Where the program of Git LFS looks, too. Raises GitFailed, Tampered."""
        try:
            named = common.git("config", "--type=path", "--get", "lfs.storage")
        except GitFailed:
            named = "lfs"
        return cls(common.git_dir / (named or "lfs") / "objects")

    @property
    def unfinished(self) -> Path:
        """Where Git LFS writes what is not yet whole; it removes what is old there."""
        return self.folder.parent / "tmp"

    def place(self, oid: str) -> Path:
        return self.folder / oid[:2] / oid[2:4] / oid

    def begin_with(self, pointer: Pointer, start: bytes) -> bool:
        try:
            with self.place(pointer.oid).open("rb") as content:
                return content.read(len(start)) == start
        except OSError:
            return False

    def seem_to_have(self, pointer: Pointer) -> bool:
        """By its size."""
        try:
            return self.place(pointer.oid).stat().st_size == pointer.size
        except OSError:
            return False

    def have(self, pointer: Pointer) -> bool:
        """By its content: workers can write there. All of it is read."""
        return self.seem_to_have(pointer) and is_content(self.place(pointer.oid), pointer)


def is_content(file: Path, pointer: Pointer) -> bool:
    """All of it is read, if the size fits."""
    digest = hashlib.sha256()
    try:
        with file.open("rb") as content:
            if file.stat().st_size != pointer.size:
                return False
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return False
    return digest.hexdigest() == pointer.oid
