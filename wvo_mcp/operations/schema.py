"""JSON schemas as small as a model needs them (CORE-4)."""

from typing import Any, cast

_TOLD = 100_000
"""A bound beyond this only keeps nonsense out of the database; no model needs to read it."""


def compact_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema inlined, without titles, null alternatives, defaults of null, and what only a validator reads."""
    definitions = cast("dict[str, Any]", schema.pop("$defs", {}))
    return cast("dict[str, Any]", _compact(schema, definitions))


def _compact(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_compact(item, definitions) for item in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    here = dict(cast("dict[str, Any]", node))
    if "$ref" in here:
        target = dict(definitions[str(here.pop("$ref")).rsplit("/", 1)[1]])
        target.pop("description", None)
        here = {**target, **here}
    alternatives = here.get("anyOf")
    if alternatives:
        real = [a for a in alternatives if a.get("type") != "null"]
        if len(real) == 1:
            del here["anyOf"]
            here = {**_compact(real[0], definitions), **here}
    if "default" in here and here["default"] in (None, [], False):
        del here["default"]
    for noise in ("title", "maxLength", "minLength", "maxItems", "minItems", "format", "pattern"):
        if noise in here and not isinstance(here[noise], dict):
            del here[noise]
    for bound in ("minimum", "maximum"):
        if here.get(bound) == 0 or abs(here.get(bound, 1)) > _TOLD:
            del here[bound]
    return {
        key: {name: _compact(value, definitions) for name, value in here[key].items()}
        if key == "properties"
        else _compact(value, definitions)
        for key, value in here.items()
    }
