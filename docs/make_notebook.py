"""Run docs/first_comparison.ipynb from top to bottom and keep what it says: `make notebook`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("first_comparison.ipynb")


def executed(folder: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs; its runs are left in `folder`. Raises what a cell raises."""
    book = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(book, timeout=600, kernel_name="python3", resources=resources, record_timing=False).execute()
    for cell in book.cells:
        cell.metadata.pop("execution", None)
    book.metadata.pop("language_info", None)
    return book


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(executed(Path(folder)), NOTEBOOK)
