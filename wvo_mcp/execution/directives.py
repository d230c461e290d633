"""Directives: the workspace's own markdown files, and the packaged ones where it has none of that name."""

from difflib import get_close_matches
from pathlib import Path

from wvo_mcp.domain.text import is_id
from wvo_mcp.errors import InvalidInput, NotFound

MAX_BYTES = 256 * 1024
PACKAGED = Path(__file__).parent / "samples" / "directives"


class DirectiveFiles:
    """Implements `ports.Directives`; files are read again at every call, so that people may edit them at any time."""

    def __init__(self, root: Path) -> None:
        """`root` is the workspace; its directives are `root/directives/NAME.md`."""
        self._root = root

    def names(self) -> list[str]:
        return sorted(_names(self._root / "directives") | _names(PACKAGED))

    def own(self) -> list[str]:
        return sorted(_names(self._root / "directives") - _names(PACKAGED))

    def read(self, name: str) -> str:
        # Only an id may become part of a path.
        file = self._file(name) if is_id(name) else None
        if file is None:
            raise NotFound("directive", name, get_close_matches(name, self.names(), n=5, cutoff=0.4), field="name")
        try:
            with file.open("rb") as opened:
                content = opened.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise InvalidInput("name", f"{file.name} is larger than {MAX_BYTES // 1024} KiB")
            return content.decode()
        except UnicodeDecodeError:
            raise InvalidInput("name", f"{file.name} is not UTF-8 text") from None
        except OSError as error:
            raise InvalidInput("name", f"{file.name} cannot be read: {error.strerror}") from None

    def _file(self, name: str) -> Path | None:
        for folder in (self._root / "directives", PACKAGED):
            file = folder / f"{name}.md"
            # A link in the workspace must not lead out of it.
            if file.is_file() and (folder == PACKAGED or file.resolve().is_relative_to(self._root.resolve())):
                return file
        return None


def _names(folder: Path) -> set[str]:
    return {file.stem for file in folder.glob("*.md") if is_id(file.stem)}
