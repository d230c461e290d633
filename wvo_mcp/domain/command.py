"""A shell command as it will be run: what a parser made of its text, and what the policy judges."""

from dataclasses import dataclass

Values = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Word:
    """An argument. `values`: everything that it can become, empty when that is not known; `known` is its beginning then.
    `glob`: an unquoted pattern is in it."""

    values: Values
    known: str = ""
    glob: bool = False

    @property
    def text(self) -> str | None:
        """Its one value, if it has exactly one."""
        return self.values[0] if len(self.values) == 1 else None

    @property
    def start(self) -> str:
        """Its one value, or what is known of it."""
        return self.known if self.text is None else self.text


ANY = Word(())
"""Nothing is known of it."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """`target` None: a here-document or a copy of a descriptor."""

    writes: bool
    target: Word | None


@dataclass(frozen=True, slots=True)
class SimpleCommand:
    """One program with its arguments, or only assignments or redirections. `fed`: what its stdin comes from, such as the
    text of the commands before it in the pipeline; None for that of the whole. `given`: the text on its stdin, if it stands
    in the command."""

    text: str
    words: tuple[Word, ...] = ()
    assigned: tuple[tuple[str, Word], ...] = ()
    redirects: tuple[Redirect, ...] = ()
    fed: str | None = None
    given: str | None = None
    apart: bool = False
    """It may not be run at all, or in a process of its own: what it changes may not hold for later ones."""


@dataclass(frozen=True, slots=True)
class Script:
    """All simple commands of a text, in order, those of substitutions and functions too. `problems`: why it could not be
    read in whole; then a person is needed."""

    commands: tuple[SimpleCommand, ...] = ()
    problems: tuple[str, ...] = ()
    fork_bomb: bool = False
