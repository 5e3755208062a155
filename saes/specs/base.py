"""What every dictionary of a config states."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bridge.spec import Spec


class SAESpec(Spec):
    """Dictionaries of some models' sites; a kind adds its own fields and a literal `kind`.

    Comparisons name their codes by SITE/NAME, such as `blocks.3.hook_resid_post/topk`, also in globs.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    """Name of the dictionaries, used after the site's: letters, digits, '.', '_' and '-'."""
    models: list[str] | None = None
    """Names of the config's models that they are of; all where left out."""
    least_explained: Annotated[float, Field(le=1)] = 0.5
    """Share of variance that a dictionary must explain of the stimuli compared, or the run stops: a lost
    normalisation or the wrong site shows here. -1 or less lets all through."""

    def names(self) -> list[str]:
        """The names of its dictionaries at a site."""
        return [self.name]
