"""The flags of a command follow from the input model of its operation."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum, StrEnum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

import click
from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

from wvo_mcp.operations.operation import Audience, Operation

MAX_BYTES = 20_000_000
"""What is read of a file or of stdin at most."""

ALSO_POSITIONAL = ("task_id", "topic")
"""Optional fields of which the first may stand without its flag where no text is required."""

LAST_POSITIONAL = "reason"
"""What people may add at the end of their verbs: `wvo-mcp cancel T1 "no longer wanted"`."""

NUMBERED = "alert_id"
"""A required number that may stand without its flag: `wvo-mcp alert-ack 17`."""

RESERVED = frozenset({"json", "input", "help"})


class Kind(StrEnum):
    SCALAR = "scalar"
    SWITCH = "switch"
    REPEATED = "repeated"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Flag:
    """How one field of an input model is written on the command line."""

    name: str
    kind: Kind
    type: click.ParamType[Any]
    required: bool
    positional: bool
    help: str
    also: tuple[str, ...] = ()
    """Other names of the option."""

    @property
    def option(self) -> str:
        return "--" + self.name.replace("_", "-")


class JsonText(click.ParamType[Any]):
    """JSON on the command line, in a file (`@FILE`), or on stdin (`-`)."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(self._text(value))
        except OSError as error:
            self.fail(f"{value[1:]}: {error.strerror}", param, ctx)
        except (ValueError, RecursionError) as error:
            self.fail(f"not JSON: {error}", param, ctx)

    def _text(self, value: str) -> str:
        if value == "-":
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        elif value.startswith("@"):
            with Path(value[1:]).expanduser().open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        else:
            return value
        if len(content) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES:,} bytes")
        return content.decode("utf-8-sig")


class _Text(click.ParamType[str]):
    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value)


_PLAIN: dict[Any, click.ParamType[Any]] = {int: click.INT, float: click.FLOAT}
_TEXT = (Kind.SCALAR, _Text())
_WRITTEN_AS_TEXT = (str, datetime, date, Path)


@cache
def flags_of(op: Operation) -> tuple[Flag, ...]:
    """One flag per field, in the order of the model."""
    fields = op.takes.model_fields
    texts = [name for name, field in fields.items() if _shape(field.annotation) == _TEXT]
    bare = [name for name in texts if fields[name].is_required()]
    bare = bare or [name for name in texts if name in ALSO_POSITIONAL][:1]
    if NUMBERED in fields:
        bare = [NUMBERED]
    if op.audience is Audience.PEOPLE and LAST_POSITIONAL in texts:
        bare.append(LAST_POSITIONAL)
    flags = tuple(_flag(name, field, positional=name in bare) for name, field in fields.items())
    taken = RESERVED & {flag.name for flag in flags}
    if taken:
        raise TypeError(f"{op.name}: {sorted(taken)[0]!r} is a flag of every command")
    return flags


def parameters(op: Operation) -> list[click.Parameter]:
    """Options for all fields, and arguments for those that may stand without a flag."""
    flags = flags_of(op)
    params: list[click.Parameter] = [
        click.Argument([_bare(flag.name)], required=False, type=flag.type, metavar=f"[{flag.name.upper()}]")
        for flag in flags
        if flag.positional
    ]
    params += [_option(flag) for flag in flags]
    params.append(
        click.Option(
            ["--input"],
            type=JsonText(),
            metavar="JSON",
            help="All arguments as a JSON object, @FILE, or - for stdin; flags override it.",
        )
    )
    return params


def options(model: type[BaseModel]) -> list[click.Option]:
    """An option for each field of a model that belongs to no operation."""
    return [_option(_flag(name, field, positional=False)) for name, field in model.model_fields.items()]


def arguments(op: Operation, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the operation is called with. Raises UsageError for what is missing or given twice."""
    whole: Any = given.get("input")
    if whole is not None and not isinstance(whole, dict):
        raise _usage("--input takes one JSON object.")
    found: dict[str, Any] = dict(cast("dict[str, Any]", whole or {}))
    for flag in flags_of(op):
        value = given.get(flag.name)
        bare = given.get(_bare(flag.name))
        if bare is not None and value is not None:
            raise _usage(f"{flag.name.upper()} is given twice: as an argument and as {flag.option}.")
        value = bare if value is None else value
        if value is not None and not (flag.kind is Kind.REPEATED and not value):
            found[flag.name] = list(value) if flag.kind is Kind.REPEATED else value
    missing = [flag for flag in flags_of(op) if flag.required and flag.name not in found]
    if missing:
        or_argument = f" (or the argument {missing[0].name.upper()})" if missing[0].positional else ""
        raise _usage(f"Missing option '{missing[0].option}'{or_argument}.")
    return found


def _usage(message: str) -> click.UsageError:
    return click.UsageError(message, ctx=click.get_current_context(silent=True))


def _bare(name: str) -> str:
    return f"{name}_argument"


def _option(flag: Flag) -> click.Option:
    help_text = f"{flag.help}  [required]" if flag.required else flag.help
    match flag.kind:
        case Kind.SWITCH:
            names = f"{flag.option}/--no-{flag.option[2:]}"
            return click.Option([flag.name, names], default=None, help=help_text)
        case Kind.REPEATED:
            return click.Option(
                [flag.name, flag.option], multiple=True, type=flag.type, help=f"{help_text} (repeatable)"
            )
        case Kind.JSON:
            help_text = f"{help_text} (JSON, @FILE, or - for stdin)"
            return click.Option([flag.name, flag.option], type=flag.type, metavar="JSON", help=help_text)
        case Kind.SCALAR:
            return click.Option([flag.name, flag.option, *flag.also], type=flag.type, help=help_text)


def _flag(name: str, field: FieldInfo, *, positional: bool) -> Flag:
    kind, kind_type = _shape(field.annotation)
    alias = field.validation_alias
    also = tuple(f"--{one}" for one in alias.choices if one != name) if isinstance(alias, AliasChoices) else ()
    return Flag(name, kind, kind_type, field.is_required(), positional, _help(field), also)


def _help(field: FieldInfo) -> str:
    default: Any = field.default
    shown = isinstance(default, bool | int | float | str) and not field.is_required() and default != ""
    default = str(default).lower() if isinstance(default, bool) else default
    text = (field.description or "").rstrip(".")
    return f"{text}.  [default: {default}]" if shown else f"{text}."


def _shape(annotation: Any) -> tuple[Kind, click.ParamType[Any]]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _shape(get_args(annotation)[0])
    if origin in (Union, UnionType):
        real = [one for one in get_args(annotation) if one is not NoneType]
        words = [_words(one) for one in real]
        if len(real) > 1 and all(words):
            return Kind.SCALAR, _choice([word for some in words for word in some])
        return _shape(real[0]) if len(real) == 1 else (Kind.JSON, JsonText())
    if _words(annotation):
        return Kind.SCALAR, _choice(_words(annotation))
    if origin in (list, tuple, set, frozenset, Sequence):
        kind, item = _shape(get_args(annotation)[0])
        return (Kind.REPEATED, item) if kind is Kind.SCALAR else (Kind.JSON, JsonText())
    if annotation is bool:
        return Kind.SWITCH, click.BOOL
    if annotation in _PLAIN:
        return Kind.SCALAR, _PLAIN[annotation]
    return _TEXT if annotation in _WRITTEN_AS_TEXT else (Kind.JSON, JsonText())


def _words(annotation: Any) -> tuple[Any, ...]:
    """The values of a Literal or an enumeration; empty for all else."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return tuple(member.value for member in annotation)
    return ()


def _choice(values: Sequence[Any]) -> click.ParamType[Any]:
    return click.Choice([str(value) for value in values])
