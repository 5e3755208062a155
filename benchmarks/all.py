"""Run the benchmarks and keep one table: ours, theirs, ratio, largest difference, machine.

python benchmarks/all.py [--quick] [--only NAME ...] [--json FILE] [--table FILE] [--readme FILE]

Rows go to the table as each benchmark ends, in place of those it had; the others stay, with the machine and the day
they are of. `make bench` keeps docs/benchmarks.json and docs/benchmarks.md, and what README.md quotes of them; without
benchmarks to run (`--only` alone) the pages are written anew from the rows that are there.
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
    "ours is faster, unless the row says otherwise) and the largest difference between results. Ratios are medians "
    "over turns of both sides, and need not be those of the median times; a row called A / B has A over B."
)
COLUMNS = ("ours", "theirs", "ratio", "difference")
QUOTED = {
    ("rsa", "dual bootstrap, corr, 500 stimuli"): (
        "RSA, 500 stimuli, 1,000 bootstrap draws of stimuli and subjects", "rsatoolbox", "s"),
    ("rsa", "dual bootstrap, corr_cov, 92 stimuli"): ("the same, whitened, 92 stimuli", "rsatoolbox", "s"),
    ("rsa", "correlation RDM, 3200 x 10000"): ("RDM of 3,200 stimuli x 10,000 features", "rsatoolbox", "s"),
    ("encoding", "pls, 3200 x 33000 x 168, Gaussian"): (
        "PLS, 3,200 stimuli x 33,000 features x 168 neuroids, ten splits", "Brain-Score", "s"),
    ("encoding", "ridge, 99 penalties, 4 regions, 3200 x 8192, against RidgeCV"): (
        "Ridge, 99 penalties, 3,200 stimuli x 8,192 features", "scikit-learn", "s"),
    ("encoding", "banded ridge, 1000 x (60 + 400) x 168, 5 folds"): (
        "Banded ridge, 1,000 stimuli x 460 features x 168 neuroids", "himalaya", "s"),
    ("sae_training", "(a) d 768, batch 4096, fp32: SAELens / ours, ms a step"): (
        "Training step of a TopK dictionary, 768 x 8,192, 4,096 tokens (difference: unexplained variance, relative)",
        "SAELens", "ms"),
    ("probes", "simplicity, 8192 features from 2000 dimensions, 5000 stimuli, against RidgeCV"): (
        "Gabor simplicity of 8,192 features", "scikit-learn", "s"),
}  # fmt: skip
"""Rows that the README quotes: what they are there, against whom, and in which unit."""
BEGIN, END = "<!-- benchmarks: begin (written by `make bench`) -->\n", "<!-- benchmarks: end -->\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer repetitions")
    parser.add_argument("--only", nargs="*", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--json", type=Path, help="keep all rows in this file")
    parser.add_argument("--table", type=Path, help="and as Markdown in this one")
    parser.add_argument("--readme", type=Path, help="and the most telling ones in this page, between its marks")
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
        keep(rows, given.json, given.table, given.readme)
    if not given.only:
        keep(rows, given.json, given.table, given.readme)
    for row in rows:
        print(f"{row['benchmark']:12} {row['name'][:64]:64} " + " ".join(f"{text:>10}" for text in shown(row)))
    for name in failed:
        print(f"error: benchmark {name} failed", file=sys.stderr)
    return int(bool(failed))


def keep(rows: list[dict[str, Any]], data: Path | None, page: Path | None, readme: Path | None) -> None:
    """Write the rows to what files are given."""
    for file in filter(None, (data, page)):
        file.parent.mkdir(parents=True, exist_ok=True)
    if data:
        data.write_text(json.dumps(rows, indent=1) + "\n")
    if page:
        page.write_text(table(rows))
    if readme:
        readme.write_text(quoting(readme.read_text(), rows))


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
    return [written(row.get(key), 2 if key == "difference" else 3) for key in COLUMNS]


def written(value: Any, digits: int) -> str:
    """A number to so many digits; without an exponent, unless it is very small."""
    if not isinstance(value, int | float):
        return "-"
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:.{digits}g}" if abs(rounded) < 1000 else f"{rounded:,.0f}"


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a page, a section a benchmark."""
    lines = ["# Benchmarks", "", "<!-- Written by `make bench`. -->", "", ABOUT]
    for name in dict.fromkeys(row["benchmark"] for row in rows):
        own = [row for row in rows if row["benchmark"] == name]
        lines += ["", f"## {name}", "", *(f"{place}." for place in dict.fromkeys(map(where, own))), ""]
        lines += ["| what | ours | theirs | ratio | difference | target | |", "|---|---|---|---|---|---|---|"]
        lines += [
            f"| {' | '.join([cell(row['name']), *shown(row), aimed(row), cell(row.get('note') or '')])} |"
            for row in own
        ]
    return "\n".join(lines) + "\n"


def where(row: dict[str, Any]) -> str:
    """Where and when a row was measured."""
    return f"{row['machine']}; {row['day']}{', small sizes' * row['quick']}"


def aimed(row: dict[str, Any]) -> str:
    """What was aimed at, and whether it was reached."""
    outcome = "" if row.get("met") is None else ": met" if row["met"] else ": **missed**"
    return f"{cell(row.get('target') or '')}{outcome}"


def cell(text: str) -> str:
    """Text in a table."""
    return text.replace("|", "/")


def quoting(page: str, rows: list[dict[str, Any]]) -> str:
    """The page with the rows of QUOTED between its marks; those that were not measured are left out."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    found = {(row["benchmark"], row["name"]): row for row in rows}
    lines = ["| | against | ours | theirs | ratio | difference |", "|---|---|---|---|---|---|"]
    places: dict[str, None] = {}
    for key, (words, whom, unit) in QUOTED.items():
        if key in found:
            ours, theirs, ratio, difference = shown(found[key])
            lines.append(f"| {words} | {whom} | {ours} {unit} | {theirs} {unit} | {ratio}x | {difference} |")
            places[where(found[key])] = None
    lines += ["", f"*{'; '.join(places)}. Theirs is scaled from a part of the work where all of it takes minutes.*"]
    return f"{before}{BEGIN}{chr(10).join(lines)}\n{END}{after}"


if __name__ == "__main__":
    sys.exit(main())
