"""A user's own RDMs, where single responses are not at hand: npz, npy, csv, or rsatoolbox's hdf5.

Ids come with the RDMs (npz: `stimulus_ids`; csv: its header and first column; hdf5: a pattern descriptor), or from a
list beside them. Without ids nothing is compared: an order alone aligns nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bridge.errors import InputError
from bridge.recordings.base import RecordingsSpec
from bridge.recordings.recordings import RegionRDMs
from bridge.recordings.selection import aligned, of_regions

if TYPE_CHECKING:
    from bridge.recordings.recordings import Recordings
    from bridge.stimuli.stimulus_set import StimulusSet

FORMATS = (".npz", ".npy", ".csv", ".h5", ".hdf5")


class Found(NamedTuple):
    """RDMs of one region as a file holds them: [subject, n, n] or [subject, pair]; ids and subjects if it has them."""

    region: str | None
    rdms: NDArray[np.floating]
    ids: tuple[str, ...] | None
    subjects: tuple[str, ...] | None


class RDMRecordings(RecordingsSpec):
    """Your own RDMs of one region or several, in a file."""

    kind: Literal["rdms"] = "rdms"
    path: Path
    """A .npz (arrays named by region, and `stimulus_ids`), .npy, .csv (a square with ids in header and first column)
    or rsatoolbox .h5 / .hdf5 file. Arrays are [n, n], [subject, n, n] or [subject, pair]."""
    region: str | None = None
    """The region, where the file does not name it."""
    ids: Path | None = None
    """A text file with one stimulus id a line, in the order of the RDMs, where the file holds none."""
    subjects: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Names of the subjects, in the order of the RDMs, where the file holds none."""
    pattern: str = "stimulus_id"
    """rsatoolbox's pattern descriptor that holds the stimulus ids."""
    regions: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Only these regions of the file; all where left out."""
    measure: str = "correlation"
    """The dissimilarity that the RDMs hold, in words."""
    citation: str = ""
    """How to cite the RDMs."""

    def fingerprint(self) -> dict[str, Any]:
        """The spec without its paths, and the hashes of the files. Raises InputError for a missing file."""
        from bridge.stimuli.images import content_sha256

        content = {key: value for key, value in self.content().items() if key not in ("path", "ids")}
        files = [self.path, *([] if self.ids is None else [self.ids])]
        return {**content, "sha256": [content_sha256(path.expanduser()) for path in files]}

    def load(self, stimuli: StimulusSet) -> list[Recordings | RegionRDMs]:
        """The RDMs of the chosen regions for `stimuli`, in their order.

        Raises InputError for a file that cannot be read, for RDMs that are none (not square, not symmetric, not
        finite), and for missing ids.
        """
        path = self.path.expanduser()
        listed = None if self.ids is None else read_ids(self.ids.expanduser())
        found: list[Recordings | RegionRDMs] = []
        for one in read_rdms(path, self.pattern):
            region = one.region or self.region
            if region is None:
                raise InputError(f"The file {path} does not name the region of its RDMs; give `region`.")
            pairs = as_pairs(one.rdms, f"{path} ({region})")
            ids = one.ids if listed is None else listed
            if ids is None:
                raise InputError(f"The file {path} holds no stimulus ids; give `ids`, a list in the RDMs' order.")
            subjects = self.subjects or one.subjects or tuple(f"subject {k:02d}" for k in range(1, len(pairs) + 1))
            found.append(
                RegionRDMs(self.name, region, pairs, ids, subjects, measure=self.measure, citation=self.citation)
            )
        return aligned(of_regions(found, self.regions, f"The file {path}"), stimuli)


def read_rdms(path: Path, pattern: str = "stimulus_id") -> list[Found]:
    """The RDMs in a file, one item a region. Nothing is unpickled. Raises InputError for what cannot be read."""
    try:
        if path.suffix == ".npy":
            return [Found(None, np.load(path, allow_pickle=False), None, None)]
        if path.suffix == ".npz":
            return _npz(path)
        if path.suffix == ".csv":
            return [_csv(path)]
        if path.suffix in (".h5", ".hdf5"):
            return _rsatoolbox(path, pattern)
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = "no such file" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())[:150]
        raise InputError(f"The RDMs in {path} cannot be read ({why}); give a complete file.") from error
    raise InputError(f"The file {path} ends in {path.suffix!r}; RDMs are read from {', '.join(FORMATS)}.")


def _npz(path: Path) -> list[Found]:
    with np.load(path, allow_pickle=False) as arrays:
        ids = _texts(arrays["stimulus_ids"]) if "stimulus_ids" in arrays else None
        subjects = _texts(arrays["subjects"]) if "subjects" in arrays else None
        names = [name for name in arrays.files if name not in ("stimulus_ids", "subjects")]
        return [Found(None if name == "rdms" else name, arrays[name], ids, subjects) for name in names]


def _csv(path: Path) -> Found:
    import pandas as pd

    table = pd.read_csv(path, index_col=0, dtype={0: str})
    rows, columns = tuple(map(str, table.index)), tuple(map(str, table.columns))
    if rows != columns:
        raise InputError(
            f"The table {path} names other stimuli in its first column than in its header; give both alike."
        )
    return Found(None, table.to_numpy(np.float64)[None], rows, None)


def _rsatoolbox(path: Path, pattern: str) -> list[Found]:
    from rsatoolbox.rdm import load_rdm

    rdms = load_rdm(str(path), file_type="hdf5")
    if pattern not in rdms.pattern_descriptors:
        names = ", ".join(map(str, rdms.pattern_descriptors))
        raise InputError(
            f"The RDMs in {path} have no pattern descriptor {pattern!r} (they have: {names}); give `pattern`."
        )
    ids = _texts(rdms.pattern_descriptors[pattern])
    n = len(rdms.dissimilarities)
    about = {str(key): _texts(values) for key, values in rdms.rdm_descriptors.items() if len(values) == n}
    regions = about.get("region", about.get("roi", ("",) * n))
    found = []
    for region in dict.fromkeys(regions):
        mine = [at for at, name in enumerate(regions) if name == region]
        subjects = tuple(about["subject"][at] for at in mine) if "subject" in about else None
        found.append(Found(region or None, rdms.dissimilarities[mine], ids, subjects))
    return found


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    return tuple(value.decode() if isinstance(value, bytes) else str(value) for value in values)


def read_ids(path: Path) -> tuple[str, ...]:
    """The lines of a text file. Raises InputError where it cannot be read."""
    try:
        return tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The list of ids {path} cannot be read ({error}); give a text file, one id a line."
        ) from error


def as_pairs(rdms: NDArray[Any], what: str) -> NDArray[np.float64]:
    """RDMs [n, n], [subject, n, n] or [subject, pair] as [subject, pair], pairs in scipy's order.

    Raises InputError for other shapes, squares that are not symmetric with a zero diagonal, and values that are not
    finite.
    """
    if rdms.dtype.kind not in "fiu" or rdms.ndim not in (2, 3) or 0 in rdms.shape:
        raise InputError(f"The RDMs {what} have shape {rdms.shape} and type {rdms.dtype}; expected [subject, n, n].")
    values = rdms.astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"The RDMs {what} hold values that are not finite; leave those stimuli or subjects out.")
    n = values.shape[-1]
    if values.ndim == 2 and values.shape[0] == n and n > 1 and not np.diagonal(values).any():
        values = values[None]
    if values.ndim == 2:
        return values
    if values.shape[1] != n:
        raise InputError(f"The RDMs {what} have shape {rdms.shape}, which are no squares; expected [subject, n, n].")
    scale = max(float(np.abs(values).max()), 1.0)
    if np.abs(values - values.transpose(0, 2, 1)).max() > 1e-6 * scale:
        raise InputError(f"The RDMs {what} are not symmetric; a dissimilarity is the same both ways.")
    if np.abs(np.diagonal(values, axis1=1, axis2=2)).max() > 1e-6 * scale:
        raise InputError(f"The RDMs {what} have a diagonal that is not zero: they look like similarities.")
    upper = np.triu_indices(n, 1)
    return values[:, upper[0], upper[1]]
