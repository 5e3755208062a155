"""Encoding: `predictivity` of neuroids from features, its ceilings and its symmetric relatives, a subject a file.

`evaluation` fits and scores; `pls` and `ridge` hold the maps, `gram` the kernel that they share; `banded` ridge gives
groups of features their own penalties and `unique_variance` says what each explains alone; `ceilings` says what
could be reached, `alignment` how alike two representations are; `recordings_encoded` does it for whole recordings.
"""

from comparisons.encoding.evaluation import (
    METHODS,
    Predictivity,
    brainscore_splits,
    nanmean,
    nanmedian,
    pearson,
    predictivity,
    reverse_predictivity,
)
from comparisons.encoding.gram import LinearKernel

__all__ = [
    "METHODS",
    "LinearKernel",
    "Predictivity",
    "brainscore_splits",
    "nanmean",
    "nanmedian",
    "pearson",
    "predictivity",
    "reverse_predictivity",
]
