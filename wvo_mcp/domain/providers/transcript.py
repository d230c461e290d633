"""What the transcript of a session says of usage."""

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Message:
    """One answer of a model, in tokens; `ends`: the number of bytes of the transcript up to its end."""

    id: str
    model: str
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    ends: int

    def after(self, before: "Message") -> "Message":
        """Each part of a message repeats its usage; while it was written, that grew."""
        return replace(
            self,
            tokens_in=max(self.tokens_in, before.tokens_in),
            tokens_out=max(self.tokens_out, before.tokens_out),
            tokens_cached=max(self.tokens_cached, before.tokens_cached),
        )


@dataclass(frozen=True, slots=True)
class Part:
    """Messages by id, in their order, and how far the transcript was read."""

    messages: Mapping[str, Message]
    ends: int
