"""Judges recorded histories: `python -m tests.support.check_history FILE... [--store PATH|URL]`. Exit code 1 for violations."""

import argparse
import sys
from pathlib import Path

from tests.support.databases import looked_at
from tests.support.linear import judged
from tests.support.recording import recorded


def main() -> int:
    parser = argparse.ArgumentParser(description="Judge the recorded calls and answers of clients.")
    parser.add_argument("histories", nargs="+", type=Path, help="one file of JSON lines for each client")
    parser.add_argument(
        "--store", help="database file or URL, as it was left: acknowledged writes are looked for there"
    )
    given = parser.parse_args()
    calls = recorded(given.histories)
    if given.store is None:
        found = judged(calls)
    else:
        with looked_at(given.store if "://" in given.store else Path(given.store).absolute()) as database:
            found = judged(calls, database)
    for violation in found:
        sys.stdout.write(f"{violation}\n")
    answered = sum(call.acknowledged for call in calls)
    sys.stdout.write(f"{len(calls)} calls, {answered} acknowledged, {len(found)} violations\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
