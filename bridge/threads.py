"""How many threads the libraries of linear algebra take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def threads_limited(limits: int | Mapping[str, int]) -> Iterator[None]:
    """At most so many threads, of all libraries or of threadpoolctl's names of them, as long as it holds.

    numpy and scipy each bring a library of their own, and a limit holds only for those that are loaded: scipy's comes
    first.
    """
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits if isinstance(limits, int) else dict(limits)):
        yield
