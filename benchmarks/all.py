"""Run the benchmarks and keep one table: ours, theirs, ratio, largest difference, machine.

python benchmarks/all.py [--quick] [--only NAME ...] [--json FILE] [--table FILE]

Rows go to the table as each benchmark ends, in place of those it had; the others stay, with the machine and the day
they are of. `make bench` keeps docs/benchmarks.json and docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NAMES = [script.stem for script in sorted(HERE.glob("*.py")) if script != Path(__file__).resolve()]
ABOUT = (
    "Our time against the reference's in one run of both (seconds, unless the row says otherwise), the ratio (above 1: "
    "ours is faster, unless the row says otherwise) and the largest difference between results."
)
COLUMNS = ("ours", "theirs", "ratio", "difference")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer repetitions")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--json", type=Path, help="keep all rows in this file")
    parser.add_argument("--table", type=Path, help="and as Markdown in this one")
    given = parser.parse_args()
    rows = json.loads(given.json.read_text()) if given.json and given.json.exists() else []
    failed = []
    for name in given.only:
        print(f"== {name}", flush=True)
        new, ended = measured(name, given.quick)
        failed += [] if ended else [name]
        if new:
            rows = [row for row in rows if row["benchmark"] != name] + new
            rows.sort(key=lambda row: NAMES.index(row["benchmark"]) if row["benchmark"] in NAMES else len(NAMES))
        for file in filter(None, (given.json, given.table)):
            file.parent.mkdir(parents=True, exist_ok=True)
        if given.json:
            given.json.write_text(json.dumps(rows, indent=1) + "\n")
        if given.table:
            given.table.write_text(table(rows))
    for row in rows:
        print(f"{row['benchmark']:12} {row['name'][:64]:64} " + " ".join(f"{text:>10}" for text in shown(row)))
    for name in failed:
        print(f"error: benchmark {name} failed", file=sys.stderr)
    return int(bool(failed))


def measured(name: str, quick: bool) -> tuple[list[dict[str, Any]], bool]:
    """The rows of one benchmark, with where and when, and whether it ended well."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.json"
        command = [sys.executable, str(HERE / f"{name}.py"), "--json", str(out), *(["--quick"] if quick else [])]
        ended = subprocess.run(command).returncode == 0
        rows = json.loads(out.read_text()) if out.exists() else []
    stamp = {"benchmark": name, "machine": machine(), "day": str(datetime.date.today()), "quick": quick}
    return [{**row, **stamp} for row in rows], ended


def machine() -> str:
    """Processor, cores, and the versions that decide the time."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "torch"))
    return f"{model}, {cores} cores, Python {platform.python_version()}, {versions}"


def shown(row: dict[str, Any]) -> list[str]:
    """The numbers of a row as text."""
    return [f"{row[key]:.3g}" if isinstance(row.get(key), int | float) else "-" for key in COLUMNS]


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a page, a section a benchmark."""
    lines = ["# Benchmarks", "", "<!-- Written by `make bench`. -->", "", ABOUT]
    for name in dict.fromkeys(row["benchmark"] for row in rows):
        own = [row for row in rows if row["benchmark"] == name]
        where = dict.fromkeys(f"{row['machine']}; {row['day']}{', small sizes' * row['quick']}" for row in own)
        lines += ["", f"## {name}", "", *(f"{place}." for place in where), ""]
        lines += ["| what | ours | theirs | ratio | difference |", "|---|---|---|---|---|"]
        lines += [f"| {' | '.join([row['name'].replace('|', '/'), *shown(row)])} |" for row in own]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
