"""The registry. `ALL` and `tools` have every operation declared; `named` declares only what it needs."""

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wvo_mcp.operations import operation as _registry
from wvo_mcp.operations.container import Container, Late
from wvo_mcp.operations.operation import Audience, Context, Effect, Operation, Workers

if TYPE_CHECKING:
    from wvo_mcp.operations.operation import ALL, tools

__all__ = ["ALL", "Audience", "Container", "Context", "Effect", "Late", "Operation", "Workers", "named", "tools"]


def named(name: str) -> Operation | None:
    """One operation, for callers that need no other: a shell command imports its own module, a fifth of all."""
    if name.isidentifier() and name not in _registry.ALL:
        for module, file in _modules().items():
            if f"\nasync def {name}(" in file.read_text(encoding="utf-8"):
                import_module(module)
                break
    return _registry.ALL.get(name)


def __getattr__(name: str) -> Any:
    if name not in ("ALL", "tools"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _declare_all()
    return getattr(_registry, name)


@cache
def _declare_all() -> None:
    """Import every module, and put the registry into their order: some may have been imported before the others."""
    order = list(_modules())
    for module in order:
        import_module(module)
    declared = sorted(_registry.ALL.items(), key=lambda entry: order.index(entry[1].run.__module__))
    _registry.ALL.clear()
    _registry.ALL.update(declared)


@cache
def _modules() -> dict[str, Path]:
    """The modules of this package by name, in the order of their names, with their files."""
    folder = Path(__file__).parent
    files = sorted(file for file in folder.rglob("*.py") if file.stem != "__init__")
    return {".".join((__name__, *file.relative_to(folder).with_suffix("").parts)): file for file in files}
