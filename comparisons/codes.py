"""Codes of dictionaries in a run: a model's stimuli encoded, and read as features.

The codes of one dictionary are an artefact: sparse, token by token, with the share of variance that the dictionary
explains of these stimuli. Texts' padding has no codes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.errors import InputError
from bridge.store import write_atomically
from comparisons.plan import Planner, Progress

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_array, csr_matrix

    from bridge.models import ModelSpec
    from bridge.readers import Activations
    from bridge.stimuli.base import StimulusSpec
    from saes.sae import SparseAutoencoder

CODES = "codes.json"
STIMULI = 64
"""Stimuli that are encoded at once."""


def codes_stage(planner: Planner, model: ModelSpec, name: str, stimuli: StimulusSpec | None = None) -> str:
    """The stage that encodes the config's stimuli (or others) by one dictionary, SITE/NAME."""
    made, reads, writes = planner.dictionaries[model.name, name]
    captured = planner.capture(model, [*reads, *([writes] if writes else [])], stimuli=stimuli)
    spec = next(one for one in planner.config.saes if name.split("/")[1] in one.names())
    least = spec.least_explained
    other = "" if stimuli is None or stimuli == planner.config.stimuli else f" of {stimuli.name}"

    def build(folder: Path, needed: Mapping[str, Path], progress: Progress) -> None:
        from bridge.activations import Activations
        from saes.checkpoints import read_folder

        sae = read_folder(needed[made] / name)
        about = write_codes(folder, sae, Activations(needed[captured]), reads, writes, progress)
        if about["explained"] is None:
            raise InputError(
                f"The activations of {model.name} at {writes or ', '.join(reads)} do not vary over these stimuli, so "
                f"the codes of {name} say nothing of them; leave the site out."
            )
        if about["explained"] < least:
            raise InputError(
                f"The dictionary {name} explains {about['explained']:.0%} of the variance of {model.name}'s "
                f"activations to these stimuli, less than the {least:.0%} of least_explained: it is of another model, "
                "site or normalisation, or was trained too little; mend that, or lower least_explained to go on."
            )
        about |= {"model": model.name, "dictionary": name}
        write_atomically(folder / CODES, json.dumps(about))

    return planner.add(
        f"codes {model.name} {name}{other}",
        "codes",
        {"model": model.name, "dictionary": name, "reads": list(reads), "writes": writes, "least_explained": least},
        build,
        needs=(made, captured),
        libraries=("torch", "scipy"),
        code=("saes.sae", "saes.checkpoints", "saes.reconstruction", __name__),
        shared=True,
    )


def write_codes(
    folder: Path,
    sae: SparseAutoencoder,
    captured: Activations,
    reads: Sequence[str],
    writes: str | None,
    progress: Progress,
) -> dict[str, Any]:
    """Write codes.npz (CSR over all tokens, stimulus by stimulus); what codes.json says of it.

    `explained` is 1 - FVU of the site that the dictionary writes (None where that is constant), `l0` the mean number
    of active latents a token, `dead` the share of latents that are active at none.
    """
    from scipy.sparse import vstack

    from saes.reconstruction import ReconstructionError

    parts, error, done, counted = [], ReconstructionError(), 0, 0
    tokens = captured.shape(reads[0])[1]
    for x, target, real in _blocks(captured, reads, writes):
        codes = sae.encode_sparse(x[real])
        error.add(target[real], sae.decode_sparse(codes, x[real]))
        parts.append(_spread(codes.scipy(), real.numpy()))
        done += len(x) // tokens
        counted += int(real.sum())
        progress(done / len(captured))
    matrix: csr_matrix = vstack(parts, format="csr")
    np.savez(folder / "codes.npz", data=matrix.data, indices=matrix.indices, indptr=matrix.indptr)
    fires = np.bincount(matrix.indices, minlength=sae.d_sae)
    return {
        "ids": list(captured.ids),
        "tokens": tokens,
        "latents": sae.d_sae,
        "explained": 1 - error.fvu if np.isfinite(error.fvu) else None,
        "l0": matrix.nnz / counted,
        "dead": float((fires == 0).mean()),
    }


def _blocks(
    captured: Activations, reads: Sequence[str], writes: str | None
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Tokens of some stimuli after the other: (what is read [n, d_in], what is written [n, d_out], which tokens are no
    padding, bool [n])."""
    import torch

    tokens = captured.shape(reads[0])[1]
    sites = [*reads, *([writes] if writes else [])]
    for blocks in zip(*(captured.rows(site, STIMULI) for site in sites), strict=True):
        values = [torch.from_numpy(np.ascontiguousarray(value)).flatten(0, 1) for _, value in blocks]
        x = torch.cat(values[: len(reads)], 1)
        real = torch.ones(len(x), dtype=torch.bool)
        if captured.lengths is not None:
            lengths = torch.from_numpy(captured.lengths[blocks[0][0]])
            real = (torch.arange(tokens) < lengths[:, None]).flatten()
        yield x, values[-1] if writes else x, real


def _spread(matrix: csr_matrix, real: np.ndarray) -> csr_matrix:
    """The rows of a matrix at the places that are `real`, bool [n]; the others are empty."""
    from scipy.sparse import csr_matrix

    counts = np.zeros(len(real), np.int64)
    counts[real] = np.diff(matrix.indptr)
    offsets = np.concatenate([[0], counts.cumsum()])
    return csr_matrix((matrix.data, matrix.indices, offsets), shape=(len(real), matrix.shape[1]))


def codes_size(folder: Path) -> tuple[int, int]:
    """(tokens, latents) of some codes."""
    about = json.loads((folder / CODES).read_text())
    return int(about["tokens"]), int(about["latents"])


def read_codes(folder: Path, name: str, ids: Sequence[str], pool: str) -> csr_array:
    """The codes of the stimuli `ids`: [n, tokens x latents] (pool `none`), or their mean or max over tokens
    [n, latents], scipy CSR. Raises InputError for unknown ids."""
    from scipy.sparse import csr_array, csr_matrix, vstack

    about = json.loads((folder / CODES).read_text())
    tokens, latents = about["tokens"], about["latents"]
    row_of = {stimulus: row for row, stimulus in enumerate(about["ids"])}
    missing = [stimulus for stimulus in ids if stimulus not in row_of]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(ids)} stimulus ids have no codes of {name} (the first: {missing[0]!r}); give both "
            "sides the same ids."
        )
    with np.load(folder / "codes.npz", allow_pickle=False) as arrays:
        shape = (len(about["ids"]) * tokens, latents)
        matrix = csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
    rows = (np.array([row_of[stimulus] for stimulus in ids])[:, None] * tokens + np.arange(tokens)).reshape(-1)
    matrix = matrix[rows]
    if pool == "none":
        # Token t's latents become the features t * latents .. : rows of one stimulus are laid side by side.
        place = np.repeat(np.tile(np.arange(tokens), len(ids)), np.diff(matrix.indptr))
        indices = matrix.indices.astype(np.int64) + place * latents
        return csr_array((matrix.data, indices, matrix.indptr[::tokens].copy()), shape=(len(ids), tokens * latents))
    if pool == "mean":
        parts = (np.ones(len(rows), matrix.dtype), np.arange(len(rows)), np.arange(0, len(rows) + 1, tokens))
        return csr_array(csr_matrix(parts, shape=(len(ids), len(rows))) @ matrix / np.float32(tokens))
    stacked = [matrix[at * tokens : (at + 1) * tokens].max(axis=0) for at in range(len(ids))]
    return csr_array(vstack(stacked, format="csr"))
