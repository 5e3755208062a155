"""What a user did that cannot work, said in one sentence, with the exit code of the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake or a circumstance that the user can mend: what was given, what was expected, what to do.

    The command line prints the message alone (never a traceback) and exits with `exit_code`.
    """

    exit_code = 2


class ConfigError(UserError):
    """The config asks for something that does not exist or does not fit together."""

    exit_code = 2


class InputError(UserError):
    """A file, an image, a checkpoint or a table is missing, there already, or not what it was said to be."""

    exit_code = 3


class UnreachableError(UserError):
    """Something has to be fetched and cannot be: no network, or the server refuses."""

    exit_code = 4


class StorageError(UserError):
    """A folder cannot be written: read-only, full, or held by another run."""

    exit_code = 5


class QualityError(UserError):
    """What was made is below the quality that was asked for, and was not published; everything else was done."""

    exit_code = 6


def did_you_mean(given: str, allowed: Iterable[str], shown: int = 12) -> str:
    """A closing clause for an error: the nearest valid name, else the names that are allowed.

    >>> did_you_mean("spearmn", ["spearman", "corr"])
    "did you mean 'spearman'? Allowed: corr, spearman"
    """
    names = sorted(set(allowed))
    # A nearest number is no help: 21 is not a slip for 32.
    nearest = [] if given.isdigit() else difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    listed = ", ".join(names[:shown]) + (f", ... ({len(names)} in all)" if len(names) > shown else "")
    return (f"did you mean {nearest[0]!r}? Allowed" if nearest else "allowed") + f": {listed or 'none'}"


def where_and_why(error: Exception) -> str:
    """Why a text file could not be read, to stand after its name: ` at line 2 (...)` of YAML, else ` (...)`."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    why = (
        "no such file"
        if isinstance(error, FileNotFoundError)
        else " ".join(str(problem or getattr(error, "strerror", None) or error).split())[:150]
    )
    return f"{f' at line {mark.line + 1}' if mark else ''} ({why})"
