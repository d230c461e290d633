"""The flags of a command follow from the input model of its operation."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

import click
from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from wvo_mcp.operations.operation import Audience, Operation

MAX_BYTES = 20_000_000
"""What is read of a file or of stdin at most."""

ALSO_POSITIONAL = ("task_id", "topic")
"""Optional fields of which the first may be given without its flag where nothing is required."""

LAST_POSITIONAL = "reason"
"""What people may add at the end of a command: `wvo-mcp cancel T1 "no longer wanted"`."""

RESERVED = frozenset({"json", "input", "help"})


class JsonText(click.ParamType[Any]):
    """JSON on the command line, in a file (`@FILE`), or on stdin (`-`)."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            if value == "-":
                content = sys.stdin.buffer.read(MAX_BYTES + 1)
            elif value.startswith("@"):
                with Path(value[1:]).expanduser().open("rb") as file:
                    content = file.read(MAX_BYTES + 1)
            else:
                return json.loads(value)
            if len(content) > MAX_BYTES:
                raise ValueError(f"more than {MAX_BYTES:,} bytes")
            return json.loads(content.decode("utf-8-sig"))
        except OSError as error:
            self.fail(f"{value[1:]}: {error.strerror}", param, ctx)
        except (ValueError, RecursionError) as error:
            self.fail(f"not JSON: {error}", param, ctx)


class TextOrList(JsonText):
    """Text as it stands, or a JSON list."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        as_json = isinstance(value, str) and (value.startswith(("[", "@")) or value == "-")
        return super().convert(value, param, ctx) if as_json else value


_JSON = JsonText()
_TEXT_OR_LIST = TextOrList()
_TYPES: dict[Any, click.ParamType[Any]] = {
    int: click.INT,
    float: click.FLOAT,
    bool: click.BOOL,
    **dict.fromkeys((str, datetime, date, Path), click.STRING),
}


def parameters(op: Operation) -> list[click.Parameter]:
    """Options for all fields, and arguments for those that may be given without a flag."""
    fields = op.fields
    taken = RESERVED & fields.keys()
    if taken:
        raise TypeError(f"{op.name}: {sorted(taken)[0]!r} is a flag of every command")
    bare = [
        click.Argument([_bare(name)], required=False, type=_shape(fields[name])[0], metavar=_shown(name, fields[name]))
        for name in _positional(op)
    ]
    help_text = "All arguments as a JSON object, @FILE, or - for stdin; flags override it."
    return [*bare, *options(op.fields), click.Option(["--input"], type=_JSON, metavar="JSON", help=help_text)]


def options(fields: Mapping[str, FieldInfo]) -> list[click.Option]:
    """An option for each field."""
    return [_option(name, field) for name, field in fields.items()]


def arguments(op: Operation, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the operation is called with. Raises UsageError for what is missing or given twice."""
    whole: Any = given.get("input")
    if whole is not None and not isinstance(whole, dict):
        raise _usage("--input takes one JSON object.")
    found: dict[str, Any] = dict(cast("dict[str, Any]", whole or {}))
    for name, field in op.fields.items():
        values: list[Any] = [one for one in (given.get(_bare(name)), given.get(name)) if one not in (None, ())]
        if len(values) > 1:
            raise _usage(f"{name.upper()} is given twice: as an argument and as {_flag(name)}.")
        if values:
            found[name] = list(cast("tuple[Any, ...]", values[0])) if isinstance(values[0], tuple) else values[0]
        elif field.is_required() and name not in found:
            or_argument = f" (or the argument {name.upper()})" if _bare(name) in given else ""
            raise _usage(f"Missing option '{_flag(name)}'{or_argument}.")
    return found


def _usage(message: str) -> click.UsageError:
    return click.UsageError(message, ctx=click.get_current_context(silent=True))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _shown(name: str, field: FieldInfo) -> str:
    """What must be given has no brackets, though it may be given by its flag or in --input instead."""
    return name.upper() if field.is_required() else f"[{name.upper()}]"


def _bare(name: str) -> str:
    return f"{name}_argument"


def _positional(op: Operation) -> list[str]:
    fields = op.fields
    scalars = [name for name, field in fields.items() if _shape(field)[0] not in (_JSON, click.BOOL)]
    names = [name for name in scalars if fields[name].is_required() and not _shape(fields[name])[1]]
    names = names or [name for name in scalars if name in ALSO_POSITIONAL][:1]
    last = op.audience is Audience.PEOPLE and LAST_POSITIONAL in scalars and LAST_POSITIONAL not in names
    return [*names, LAST_POSITIONAL] if last else names


def _option(name: str, field: FieldInfo) -> click.Option:
    kind, repeated = _shape(field)
    default: Any = field.default
    shown = isinstance(default, bool | int | float | str) and not field.is_required() and default != ""
    text = (field.description or "").rstrip(".")
    text += f".  [default: {str(default).lower() if isinstance(default, bool) else default}]" if shown else "."
    text += "  [required]" if field.is_required() else ""
    alias = field.validation_alias
    also = [_flag(str(one)) for one in alias.choices if one != name] if isinstance(alias, AliasChoices) else []
    if kind is click.BOOL:
        return click.Option([name, f"{_flag(name)}/--no-{_flag(name)[2:]}"], default=None, help=text)
    if kind is _JSON:
        return click.Option(
            [name, _flag(name)], type=kind, metavar="JSON", help=f"{text} (JSON, @FILE, or - for stdin)"
        )
    text += " (repeatable)" if repeated else ""
    return click.Option([name, _flag(name), *also], multiple=repeated, type=kind, help=text)


def _shape(field: FieldInfo | Any) -> tuple[click.ParamType[Any], bool]:
    """The type of a flag, and whether it may be repeated, of a field or an annotation."""
    annotation = field.annotation if isinstance(field, FieldInfo) else field
    origin, inner = get_origin(annotation), [one for one in get_args(annotation) if one is not NoneType]
    words = _words(annotation)
    if words:
        return click.Choice([str(word) for word in words]), False
    if origin is Annotated or (origin in (Union, UnionType) and len(inner) == 1):
        return _shape(inner[0])
    if origin in (Union, UnionType) and {_shape(one) for one in inner} == {(click.STRING, True), (click.STRING, False)}:
        return _TEXT_OR_LIST, False
    if origin in (list, tuple, set, frozenset, Sequence):
        item, repeated = _shape(inner[0])
        return (_JSON, False) if item is _JSON or repeated else (item, True)
    return _TYPES.get(annotation, _JSON), False


def _words(annotation: Any) -> list[Any]:
    """The values of a Literal, an enumeration, or a union of these; empty for all else."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [member.value for member in annotation]
    if get_origin(annotation) in (Union, UnionType):
        parts = [_words(one) for one in get_args(annotation) if one is not NoneType]
        return [word for part in parts for word in part] if all(parts) else []
    return []
