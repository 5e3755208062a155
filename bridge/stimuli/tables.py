"""Tables of stimuli in files: csv, tsv and parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import InputError, where_and_why

if TYPE_CHECKING:
    import pandas as pd


def read_column(path: Path, column: str) -> list[str]:
    """One column of a table as strings, read without pandas. Raises InputError for a missing file or column."""
    import csv

    try:
        if path.suffix == ".parquet":
            from pyarrow import parquet

            return [str(value) for value in parquet.read_table(path, columns=[column])[column].to_pylist()]
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, delimiter="," if path.suffix == ".csv" else "\t")
            return [row[column] or "" for row in rows]
    except (OSError, KeyError, ValueError, csv.Error) as error:
        why = f" (no column {column!r})" if isinstance(error, KeyError) else where_and_why(error)
        raise InputError(f"The table {path} cannot be read{why}; give a csv, tsv or parquet file.") from error


def read_table(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    """A csv, tsv or parquet file, with `stimulus_id` and the other `needed` columns as strings.

    Raises InputError for a missing or malformed file, a missing column, or an empty id.
    """
    import pandas as pd

    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        elif path.suffix in (".csv", ".tsv", ".txt"):
            strings = dict.fromkeys(needed, "string")
            table = pd.read_csv(path, sep="," if path.suffix == ".csv" else "\t", dtype=strings)  # type: ignore[arg-type]
        else:
            raise InputError(f"The table {path} ends in {path.suffix!r}; give a .csv, .tsv or .parquet file.")
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise InputError(
            f"The table {path} cannot be read{where_and_why(error)}; give a csv, tsv or parquet file."
        ) from error
    for column in needed:
        if column not in table:
            raise InputError(
                f"The table {path} has no column {column!r} (it has: {', '.join(map(str, table.columns))}); add it, "
                "or rename the one that is meant."
            )
        if table[column].isna().any():
            row = int(table[column].isna().to_numpy().argmax())
            raise InputError(f"The table {path} has no {column!r} in row {row + 1}; fill it in.")
        table[column] = table[column].astype(str).astype(object)
    return table
