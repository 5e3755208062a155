"""The section `release` of a config: what its dictionaries must reach before they are published, and how."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bridge.spec import Spec


class Gates(Spec):
    """What a dictionary must reach on tokens that were held out of its training; what does not is not published.

    The default of `explained` is the bound under which `saes.load` refuses a dictionary (`saes.scrutiny`): nothing is
    published that its own loader would turn away.
    """

    explained: Annotated[float, Field(le=1)] = 0.5
    """Least share of the variance that it explains, 1 - FVU."""
    live: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Least share of its latents that are active at one of these tokens or more."""
    tokens: Annotated[int, Field(ge=1)] = 10_000
    """Fewest held-out tokens to judge on: of few, both numbers say little."""


class Release(Spec):
    """What `ventral sae release` makes of a config's `saes`."""

    gates: Gates = Gates()
    """The least quality."""
    licence: str | None = None
    """Licence of the dictionaries by the hub's short name, such as cc-by-4.0; it is yours to choose."""
    pass_width: Annotated[int, Field(ge=1)] = 4096
    """Sites that are trained in one pass over the tokens have this many dimensions together, at most (one wider site
    has a pass of its own). The tokens that are shuffled at a time take 1 to 2 MB of memory a dimension."""
