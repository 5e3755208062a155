"""Public data sets by name: `dataset(name)`. One file a data set.

A data set's file defines `DATASET = Dataset(...)`; it is found because it stands in this folder. Such files import
readers (scipy, h5py, pandas, PIL) inside functions, so that listing data sets stays fast.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from bridge.data.dataset import DataFile, Dataset, GitHubFolder
from bridge.errors import ConfigError, did_you_mean


@cache
def all_datasets() -> dict[str, Dataset]:
    """Every data set that a module of this folder defines, by name, sorted."""
    found = {}
    for info in pkgutil.iter_modules(__path__):
        declared = getattr(importlib.import_module(f"{__name__}.{info.name}"), "DATASET", None)
        if isinstance(declared, Dataset):
            found[declared.name] = declared
    return dict(sorted(found.items()))


def dataset(name: str) -> Dataset:
    """The data set of this name. Raises ConfigError for an unknown one.

    >>> dataset("resnet_cifar10").title
    'CIFAR-10 ResNets, pretrained'
    """
    known = all_datasets()
    if name not in known:
        raise ConfigError(f"There is no data set {name!r}; {did_you_mean(name, known)}.")
    return known[name]


__all__ = ["DataFile", "Dataset", "GitHubFolder", "all_datasets", "dataset"]
