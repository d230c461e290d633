"""JSON in what a model says."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from wvo_mcp.errors import problem_of

T = TypeVar("T", bound=BaseModel)
_MOST_TRIED = 200


def answer_of(text: str, model: type[T]) -> T | str:
    """The answer in a model's words: JSON alone, in a fence, or within prose; the last object that is one counts. Else what is
    wrong with it, as a sentence for who answered."""
    wrong = "There is no JSON object in the answer."
    for found in _objects(text):
        try:
            return model.model_validate(found)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            if not wrong.startswith("The field"):  # of several objects the last one is meant
                wrong = f"The field {'.'.join(map(str, first['loc']))} of the answer: {problem_of(first)}."
    return wrong


def _objects(text: str) -> Iterator[Mapping[str, Any]]:
    """JSON objects of the text that stand in no other, the last one first."""
    decoder = json.JSONDecoder()
    found: list[Mapping[str, Any]] = []
    position = 0
    for _ in range(_MOST_TRIED):
        if (start := text.find("{", position)) < 0:
            break
        try:
            value, position = decoder.raw_decode(text, start)
            found.append(cast("Mapping[str, Any]", value))
        except (ValueError, RecursionError):
            position = start + 1
    return reversed(found)
