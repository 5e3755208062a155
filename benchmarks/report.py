"""How long a report takes to open in a browser, from the file to all of it drawn, and how large it is.

    python benchmarks/report.py [--run runs/demo] [--quick] [--json FILE]

There is no other side: `theirs` is the limit (2 s, 15 MB), `ratio` how far below it the report is.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

from browser import Browser, find  # noqa: E402

SECONDS, MEGABYTES = 2.0, 15.0


def rows(page: Path, program: str, turns: int) -> list[dict[str, Any]]:
    """The median of so many openings, each in a tab of its own, after one that is not counted."""
    with tempfile.TemporaryDirectory() as profile, Browser(program, Path(profile)) as browser:
        took = []
        for _ in range(turns + 1):
            with browser.tab() as tab:
                took.append(tab.open(page))
    opened, size = statistics.median(took[1:]), page.stat().st_size / 1e6
    told = (
        f"{page.parent.name}: report opens (s; limit {SECONDS:g})",
        f"{page.parent.name}: report (MB; limit {MEGABYTES:g})",
    )
    found = zip(told, (opened, size), (SECONDS, MEGABYTES), strict=True)
    return [
        {"name": name, "ours": ours, "theirs": limit, "ratio": limit / ours, "difference": None}
        for name, ours, limit in found
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "demo", help="a run's folder (default: the demo's)")
    parser.add_argument("--quick", action="store_true", help="fewer turns")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    given = parser.parse_args()
    page, program = (given.run / "report.html").resolve(), find()
    if not page.is_file() or program is None:
        what = "no browser" if page.is_file() else f"no {page.parent.name}/report.html: run `make demo`"
        print(f"error: there is {what}.", file=sys.stderr)
        return 3
    made = rows(page, program, 3 if given.quick else 9)
    for row in made:
        print(f"{row['name']:44} {row['ours']:8.2f} {row['theirs']:8.2f} {row['ratio']:8.2f}")
    if given.json:
        given.json.write_text(json.dumps(made, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
