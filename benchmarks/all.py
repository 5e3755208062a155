"""Run every benchmark and print one table: ours, theirs, ratio, largest difference, machine.

python benchmarks/all.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer repetitions")
    parser.add_argument("--json", type=Path, help="write all rows to this file")
    given = parser.parse_args()
    rows, failed = [], []
    for script in sorted(HERE.glob("*.py")):
        if script == Path(__file__).resolve():
            continue
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "rows.json"
            command = [sys.executable, str(script), "--json", str(out), *(["--quick"] if given.quick else [])]
            print(f"== {script.stem}", flush=True)
            if subprocess.run(command).returncode:
                failed.append(script.stem)
            if out.exists():
                rows += [{"benchmark": script.stem, **row} for row in json.loads(out.read_text())]
    print(f"\n{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    print(f"{'benchmark':10} {'what':58} {'ours':>10} {'theirs':>10} {'ratio':>8} {'difference':>11}")
    for row in rows:
        values = [row.get(key) for key in ("ours", "theirs", "ratio", "difference")]
        shown = [f"{v:.4g}" if isinstance(v, int | float) else "-" for v in values]
        print(f"{row['benchmark']:10} {row['name'][:58]:58} {shown[0]:>10} {shown[1]:>10} {shown[2]:>8} {shown[3]:>11}")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))
    for name in failed:
        print(f"error: benchmark {name} failed", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
