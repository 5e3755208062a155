"""The example notebook runs from top to bottom, and what it keeps is what it says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import nbformat

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "first_comparison.ipynb"


def outputs(book: Any) -> list[list[str]]:
    """The words that the cells show as text, without numbers: a simulated brain's differ between machines."""
    shown = [
        "".join(output.get("data", {}).get("text/plain", output.get("text", "")))
        for cell in book.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    return [re.sub(r"-?\d+(\.\d+)?", "#", one).split() for one in shown]


def test_the_notebook_runs_and_is_kept_as_it_ran(tmp_path: Path) -> None:
    kept = nbformat.read(NOTEBOOK, as_version=4)
    made = runpy.run_path(str(NOTEBOOK.with_name("make_notebook.py")))["executed"](tmp_path)
    assert (tmp_path / "runs" / "notebook" / "report.html").is_file()
    assert outputs(made) == outputs(kept), "run `make notebook`: it keeps what its cells say now"
    html = ["".join(output.data.get("text/html", "")) for cell in made.cells for output in cell.get("outputs", [])]
    assert any("Does a small residual network" in one for one in html)
