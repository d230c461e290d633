"""`scripts/bench`: every figure beside its floor, measured in the same run."""

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from scripts.benchmarks import (
    ahead,
    backup,
    drivers,
    files,
    health,
    http,
    judging,
    launches,
    merging,
    over_stdio,
    pages,
    patterns,
    pausing,
    places,
    pool,
    process,
    routing,
    sandbox,
    signals,
    talking,
    telemetry,
    throughput,
    watching,
    web,
)
from scripts.benchmarks.figures import Report

_PARTS = [
    "process",
    "stdio",
    "shapes",
    "claims",
    "backup",
    "health",
    "telemetry",
    "ahead",
    "http",
    "pages",
    "web",
    "routing",
    "talking",
    "patterns",
    "signals",
    "places",
    "files",
    "watching",
    "pausing",
    "merging",
    "judging",
    "drivers",
    "launches",
    "pool",
    "sandbox",
]


def main() -> int:
    if sys.argv[1:2] == ["postgres"]:
        from scripts.benchmarks import postgres  # needs the test dependencies, which the rest does not

        return postgres.main(sys.argv[2:])
    if sys.argv[1:2] == ["stores"]:
        from scripts.benchmarks import stores  # needs them too

        return stores.main(sys.argv[2:])
    if sys.argv[1:2] == ["simulate"]:
        from scripts.benchmarks import simulate  # as those two

        return simulate.main(sys.argv[2:])
    if sys.argv[1:2] in (
        ["backup"],
        ["health"],
        ["telemetry"],
        ["ahead"],
        ["http"],
        ["pages"],
        ["web"],
        ["routing"],
        ["talking"],
        ["patterns"],
        ["signals"],
        ["places"],
        ["files"],
        ["watching"],
        ["pausing"],
        ["merging"],
        ["judging"],
        ["drivers"],
        ["launches"],
        ["pool"],
        ["sandbox"],
    ):
        sys.argv[1:2] = ["--only", sys.argv[1]]
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small stores and few rounds: does it run, not how fast")
    parser.add_argument("--only", action="append", choices=_PARTS, help="parts to run")
    parser.add_argument("--sizes", default=None, help="sizes of the stores over stdio, e.g. 1000,100000")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table here as well")
    given = parser.parse_args()
    default = "1000,10000" if given.quick else "1000,10000,100000,1000000"
    sizes = [int(part) for part in (given.sizes or default).split(",")]
    parts = given.only or _PARTS
    report = Report(Console(width=None if sys.stdout.isatty() else 180))
    with tempfile.TemporaryDirectory(prefix="wvo-bench-") as name:
        folder = Path(name)
        if "process" in parts:
            process.measure(report, quick=given.quick, folder=folder)
        if "stdio" in parts:
            over_stdio.measure(report, sizes=sizes, quick=given.quick, folder=folder)
        if "shapes" in parts:
            over_stdio.measure_shapes(report, quick=given.quick, folder=folder)
        if "claims" in parts:
            throughput.measure(report, quick=given.quick, folder=folder)
        if "backup" in parts:
            backup.measure(report, quick=given.quick, folder=folder)
        if "health" in parts:
            health.measure(report, sizes=sizes, quick=given.quick, folder=folder)
        if "telemetry" in parts:
            telemetry.measure(report, quick=given.quick, folder=folder)
        if "ahead" in parts:
            ahead.measure(report, sizes=sizes, quick=given.quick, folder=folder)
        if "http" in parts:
            http.measure(report, quick=given.quick, folder=folder)
        if "pages" in parts:
            pages.measure(report, quick=given.quick, folder=folder)
        if "web" in parts:
            web.measure(report, quick=given.quick, folder=folder)
        if "signals" in parts:
            signals.measure(report, quick=given.quick)
        if "places" in parts:
            places.measure(report, quick=given.quick)
        if "files" in parts:
            files.measure(report, quick=given.quick)
        if "watching" in parts:
            watching.measure(report, quick=given.quick)
        if "pausing" in parts:
            pausing.measure(report, quick=given.quick, folder=folder)
        if "merging" in parts:
            merging.measure(report, quick=given.quick)
        if "judging" in parts:
            judging.measure(report, quick=given.quick)
        if "drivers" in parts:
            drivers.measure(report, quick=given.quick)
        if "launches" in parts:
            launches.measure(report, quick=given.quick, folder=folder)
        if "pool" in parts:
            pool.measure(report, quick=given.quick, folder=folder)
        if "sandbox" in parts:
            sandbox.measure(report, quick=given.quick)
        if "talking" in parts:
            talking.measure(report, quick=given.quick, folder=folder)
        if "patterns" in parts:
            patterns.measure(report, quick=given.quick, folder=folder)
        if "routing" in parts:
            routing.measure(report, quick=given.quick, folder=folder)
    report.show()
    if given.json:
        report.write(given.json)
    if given.markdown:
        given.markdown.write_text(report.markdown())
    return 0


if __name__ == "__main__":
    sys.exit(main())
