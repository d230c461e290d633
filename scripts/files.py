"""What every file keeps to: at most 400 lines of code, short names of tests, and no word of a particular machine."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINES = 400
CODE = {".py", ".sql", ".sh", ""}
GENERATED = {"tests/clients/package-lock.json", "locks/dev.txt", "locks/runtime.txt", "wvo_mcp/front/snapshot.json"}

FORBIDDEN = {
    "a path of one machine": re.compile(r"(?<![\w.~/-])/(?:work|root|tmp|Users|home(?!/ann\b))/\w"),
    "the host of a package registry": re.compile(
        r"(?:https?://|\b)(?:[\w-]+\.)*(?:registry|pypi|pythonhosted|npmjs|artifactory|nexus)\.[a-z]{2,}(?=[/:\s]|$)",
        re.I,
    ),
    "a test name of over 80 characters": re.compile(r"\bdef test_\w{76,}"),
    "work left undone": re.compile(r"\b(?:[T]ODO|[F]IXME|[X]XX)\b"),
}


def tracked() -> list[Path]:
    """Every file of the repository, new ones too, that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [path for name in sorted(listed.stdout.decode().split("\0")) if name and (path := ROOT / name).is_file()]


def problems(path: Path) -> list[str]:
    """`FILE:LINE: what is wrong`, for one file; none for what is no text."""
    name = path.relative_to(ROOT).as_posix()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []
    found: list[str] = []
    if path.suffix in CODE and len(lines) > LINES:
        found.append(f"{name}: {len(lines)} lines; at most {LINES}")
    if name not in GENERATED:
        for number, line in enumerate(lines, 1):
            found += [
                f"{name}:{number}: {what}: {line.strip()[:100]}" for what, at in FORBIDDEN.items() if at.search(line)
            ]
    return found


def main() -> int:
    found = [problem for path in tracked() for problem in problems(path)]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
