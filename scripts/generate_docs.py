"""docs/tools.md from the registry of operations, docs/requirements.md from the markers in tests, and the table of the
simulated day in docs/providers.md."""

import ast
import sys
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

from wvo_mcp.operations import ALL, Audience, Operation

ROOT = Path(__file__).parent.parent
_MARK = "requirement"
_DAY_BEGINS, _DAY_ENDS = "<!-- the day -->", "<!-- end of the day -->"


def tools_page() -> str:
    lines = [
        "# Tools and commands",
        "",
        "Generated from the registry by `scripts/docs`. Every tool is also the command `wvo-mcp NAME-IN-KEBAB-CASE`.",
        "Toolsets are chosen with `WVO_TOOLSETS` (default `core`; `all` for every one).",
    ]
    toolsets: dict[str, list[Operation]] = defaultdict(list)
    for op in ALL.values():
        toolsets[op.toolset].append(op)
    for name, ops in toolsets.items():
        people = ops[0].audience is Audience.PEOPLE
        lines += ["", f"## {'For people only (commands, never tools)' if people else 'Toolset `' + name + '`'}"]
        for op in ops:
            lines += ["", f"### {op.name}", "", op.summary, "", _facts(op), *_table(op)]
    return "\n".join(lines) + "\n"


def _facts(op: Operation) -> str:
    facts = [f"Effect: {op.effect}"]
    if op.idempotent:
        facts.append("safe to repeat")
    if op.takes_request_id:
        facts.append("a repeat with the same `request_id` answers the first result")
    if op.lease_write:
        facts.append("a repeat with the same lease answers the first result")
    return "; ".join(facts) + "."


def _table(op: Operation) -> list[str]:
    schema = op.schema
    properties: dict[str, Any] = schema.get("properties", {})
    if not properties:
        return []
    required = set(schema.get("required", []))
    rows = ["", "| field | type | meaning |", "|---|---|---|"]
    for name, field in properties.items():
        kind = _kind(field)
        needed = ", required" if name in required else ""
        rows.append(f"| `{name}` | {kind}{needed} | {field.get('description', '')} |")
    return rows


def _kind(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " \\| ".join(str(value) for value in field["enum"])
    kind = str(field.get("type", "any"))
    if kind == "array":
        inner = field.get("items", {})
        return (
            f"list of {_kind(inner)}"
            if inner.get("type") != "object"
            else "list of objects: " + ", ".join(f"`{name}`" for name in inner.get("properties", {}))
        )
    bounds = [str(field[name]) for name in ("minimum", "maximum") if name in field]
    return f"{kind} {'-'.join(bounds)}".strip() if len(bounds) == 2 and float(bounds[1]) < 1e9 else kind


def proofs() -> dict[str, list[str]]:
    """Requirement id -> `path::test` of every test that carries it, sorted."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text())
        whole = _ids([node.value for node in tree.body if _is_pytestmark(node)])  # type: ignore[attr-defined]
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                inherited = _ids(list(node.decorator_list))
                for inner in node.body:
                    _note(found, path, inner, whole | inherited)
        for node in tree.body:
            _note(found, path, node, whole)
    return {name: sorted(tests) for name, tests in found.items()}


def _is_pytestmark(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "pytestmark" for t in node.targets)


def _note(found: dict[str, set[str]], path: Path, node: ast.stmt, inherited: set[str]) -> None:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
        for name in _ids(list(node.decorator_list)) | inherited:
            found[name].add(f"{path.relative_to(ROOT)}::{node.name}")


def _ids(expressions: list[ast.expr]) -> set[str]:
    ids: set[str] = set()
    for expression in expressions:
        for node in ast.walk(expression):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == _MARK:
                ids |= {str(a.value) for a in node.args if isinstance(a, ast.Constant)}
    return ids


def requirements_page() -> str:
    """Every requirement with its sentence and its tests. Raises ValueError for a test that names an unknown id."""
    sentences: dict[str, dict[str, str]] = tomllib.loads((ROOT / "docs/requirements.toml").read_text())
    proven = proofs()
    unknown = proven.keys() - {name for group in sentences.values() for name in group}
    if unknown:
        raise ValueError(f"docs/requirements.toml lacks {', '.join(sorted(unknown))}")
    lines = [
        "# Requirements and their proofs",
        "",
        "For people who ask what wvo-mcp promises and how that is known. Generated by `scripts/docs` from",
        "`docs/requirements.toml` and the tests that carry `@pytest.mark.requirement(...)`. Sections are those of",
        "[the contract](contract.md). What has no test is not done.",
    ]
    for title, group in sentences.items():
        lines += ["", f"## {title[0].upper()}{title[1:]}"]
        for name, sentence in group.items():
            tests = [f"- `{test}`" for test in proven.get(name, [])]
            lines += ["", f"### {name}", "", sentence, "", *(tests or ["Not done yet."])]
    return "\n".join(lines) + "\n"


def providers_page() -> str:
    """The page as it is, with the table of the simulated day anew."""
    sys.path.insert(0, str(ROOT))
    from scripts.benchmarks import traffic

    text = (ROOT / "docs/providers.md").read_text()
    before, mark, rest = text.partition(_DAY_BEGINS)
    _, end, after = rest.partition(_DAY_ENDS)
    if not mark or not end:
        raise ValueError("docs/providers.md has lost the marks of its table")
    return f"{before}{mark}\n{traffic.published()}\n{end}{after}"


def main() -> int:
    pages = {
        "docs/tools.md": tools_page(),
        "docs/requirements.md": requirements_page(),
        "docs/providers.md": providers_page(),
    }
    stale = [name for name, text in pages.items() if not (ROOT / name).is_file() or (ROOT / name).read_text() != text]
    if "--check" in sys.argv[1:]:
        for name in stale:
            print(f"{name} is not what scripts/docs generates: run scripts/docs and commit it", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        (ROOT / name).write_text(pages[name])
        print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
