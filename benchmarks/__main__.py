"""``python -m benchmarks``: measure, print one table."""

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import (
    chains,
    dashboard,
    halo,
    large_volume,
    living,
    orchestration,
    overlap,
    reopen,
    stitching,
)
from benchmarks.cases import Settings
from benchmarks.table import Row, as_markdown, as_text

BENCHMARKS = {
    "orchestration": orchestration.report,
    "halo": halo.report,
    "reopen": reopen.report,
    "living": living.report,
    "cluster": chains.report,
    "overlap": overlap.report,
    "stitching": stitching.report,
    "large": large_volume.report,
    "dashboard": dashboard.report,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked; 1 if anything could not be measured."""
    options = _parser().parse_args(arguments)
    chosen = options.benchmark or list(BENCHMARKS)
    began = time.monotonic()
    rows: list[Row] = []
    notes: list[str] = []
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="lw_bench_", dir=options.scratch) as folder:
        settings = Settings(
            Path(folder),
            repeats=options.repeats or (1 if options.toy else 3),
            toy=options.toy,
            tiles=options.tiles,
            say=_say,
        )
        for name in dict.fromkeys(chosen):
            found = BENCHMARKS[name](settings)
            rows += found.rows
            notes += [note for note in found.notes if note not in notes]
            problems += found.problems
    if options.toy:
        notes.append("toy sizes: this only shows that everything runs")
    print(as_text(rows))
    print("\nratio: the system's figure divided by latticework's; figures are medians of repeats.")
    for note in notes:
        print(f"* {note}")
    for problem in problems:
        print(f"NOT MEASURED: {problem}")
    load = f", load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    print(f"{machine()}; {time.monotonic() - began:.0f} s in all{load}")
    if options.markdown:
        options.markdown.write_text(as_markdown(rows, notes, machine()))
    return 1 if problems else 0


def machine() -> str:
    """What the numbers were measured on."""
    packages = ("latticework", "dask", "distributed", "daisy", "zarr", "tensorstore", "numpy")
    found = ", ".join(f"{package} {_version(package)}" for package in packages)
    return (
        f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, {found}"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure latticework beside its peers, in this run and on this machine.",
        epilog="Needs the extra [bench]. The full set takes 15 to 20 minutes, 4 GB of memory and "
        "6 GB of disk.",
    )
    add = parser.add_argument
    add("benchmark", nargs="*", choices=[*BENCHMARKS, []], help="which ones (default: all)")
    add("--toy", action="store_true", help="tiny sizes, one repeat: does everything run?")
    add("--tiles", type=int, help="units of the no-op and reopening benchmarks")
    add("--repeats", type=int, help="runs of each system (default 3), taking turns")
    add("--markdown", type=Path, metavar="FILE", help="write the table as Markdown too")
    add("--scratch", type=Path, metavar="DIR", help="where to put the data (default: temp folder)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
