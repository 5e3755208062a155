"""Variable projection: models that are linear in some parameters, fitted to many maps from many starts at once.

y = Phi(p) c + rest: for given p the best c is a least-squares solution, so only p is searched (Golub & Pereyra 1973),
by Levenberg-Marquardt with Kaufman's (1975) Jacobian, (I - Phi Phi^+) dPhi c. Several maps of one feature can share p
and have coefficients of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Model(Protocol):
    """Basis functions of `n` points with parameters p, and bounds of p, each [parameter]."""

    low: Tensor
    high: Tensor

    def basis(self, p: Tensor) -> Tensor:
        """Phi, [batch, q, n], of parameters [batch, parameter]."""
        ...

    def slopes(self, p: Tensor, phi: Tensor, c: Tensor) -> Tensor:
        """d(Phi c)/dp at `phi` = basis(p) for coefficients [batch, q], [batch, parameter, n]."""
        ...


BATCH = 128
"""Problems worked on at a time, so that their points stay in the processor's cache."""
CHUNK = 64
"""Features a task of the pool of threads: operations on small arrays are faster one to a thread than shared."""


def fit(
    model: Model, maps: Tensor, starts: Tensor, short: int = 4, long: int = 20, kept: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    """The best parameters [feature, p], coefficients [feature, map, q] and R2 [feature] of maps [feature, map, n].

    From every start [feature, start, p] `short` steps are made, then `long` more from the `kept` best. R2 is the share
    of the maps' sum of squares (about 0, not about their mean). Maps of zeros come back with R2 NaN.
    """
    import torch

    if not len(maps):
        empty = model.basis(starts.new_zeros(1, starts.shape[2]))
        return starts[:, 0], maps.new_empty(0, maps.shape[1], empty.shape[1]), maps.new_empty(0)

    def part(rows: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        with torch.inference_mode():
            return _fit(model, rows[0], rows[1], short, long, kept)

    with one_thread() as count, ThreadPoolExecutor(count) as pool:
        found = list(pool.map(part, list(zip(maps.split(CHUNK), starts.split(CHUNK), strict=True))))
    p, c, r2 = (torch.cat(parts) for parts in zip(*found, strict=True))
    return p, c, r2


@contextmanager
def one_thread() -> Iterator[int]:
    """Within, torch works on one thread a call; gives the number of threads that it had, and has again after."""
    import torch

    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield count
    finally:
        torch.set_num_threads(count)


def _fit(model: Model, maps: Tensor, starts: Tensor, short: int, long: int, kept: int) -> tuple[Tensor, Tensor, Tensor]:
    import torch

    features, count, size = starts.shape
    total = maps.square().sum((1, 2))
    unit = maps / torch.where(total > 0, total, 1.0).sqrt()[:, None, None]
    found, cost = _all(model, unit, starts, short)
    order = cost.topk(min(kept, count), dim=1, largest=False).indices
    found, cost = _all(model, unit, torch.gather(found, 1, order[:, :, None].expand(-1, -1, size)), long)
    best, rows = cost.argmin(1), torch.arange(features)
    p = found[rows, best]
    c = _coefficients(model.basis(p), maps)[0]
    return p, c, torch.where(total > 0, 1 - cost[rows, best], torch.nan)


def _all(model: Model, unit: Tensor, starts: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """`_descend` from each start of each feature: parameters [feature, start, p], sums of squares [feature, start]."""
    import torch

    features, count, size = starts.shape
    flat, which = starts.reshape(-1, size), torch.arange(features).repeat_interleave(count)
    done = [
        _descend(model, unit[which[at : at + BATCH]], flat[at : at + BATCH], steps) for at in range(0, len(flat), BATCH)
    ]
    found, cost = (torch.cat(parts) for parts in zip(*done, strict=True))
    return found.view(features, count, size), cost.view(features, count)


def _descend(model: Model, y: Tensor, p: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Parameters and sums of squares after some Levenberg-Marquardt steps for maps [batch, map, n] of norm 1."""
    import torch

    p = p.clamp(model.low, model.high)
    damping = torch.full((len(p),), 1e-2)
    state = _linearised(model, y, p)
    eye = torch.eye(p.shape[1])
    for _ in range(steps):
        cost, normal, gradient = state
        size = normal.diagonal(dim1=1, dim2=2)
        damped = normal + torch.diag_embed(damping[:, None] * size + 1e-6 * size.amax(1, keepdim=True) + 1e-12)
        step = torch.linalg.solve(damped.double() + 1e-14 * eye, gradient.double()[:, :, None])[:, :, 0].float()
        tried = (p + step).clamp(model.low, model.high)
        new = _linearised(model, y, tried)
        better = new[0] < cost
        p = torch.where(better[:, None], tried, p)
        state = (
            torch.where(better, new[0], cost),
            torch.where(better[:, None, None], new[1], normal),
            torch.where(better[:, None], new[2], gradient),
        )
        damping = torch.where(better, damping * 0.2, damping * 8).clamp(1e-7, 1e7)
    return p, state[0]


def _coefficients(phi: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """c [batch, map, q], and the inverse Gram matrix of the basis [batch, q, q]."""
    import torch

    gram = (phi @ phi.transpose(1, 2)).double()
    gram = gram + torch.eye(gram.shape[1], dtype=gram.dtype) * (
        1e-9 * gram.diagonal(dim1=1, dim2=2).amax(1)[:, None, None] + 1e-30
    )
    inverse = torch.linalg.inv(gram)
    return ((y @ phi.transpose(1, 2)).double() @ inverse).float(), inverse.float()


def _linearised(model: Model, y: Tensor, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of squares [batch], J'J [batch, p, p] and J'r [batch, p] at parameters p."""
    phi = model.basis(p)
    c, inverse = _coefficients(phi, y)
    residual = y - c @ phi
    cost = residual.square().sum((1, 2))
    size = p.shape[1]
    normal, gradient = p.new_zeros(len(p), size, size), p.new_zeros(len(p), size)
    for number in range(y.shape[1]):
        slopes = model.slopes(p, phi, c[:, number])
        shared = slopes @ phi.transpose(1, 2)
        normal = normal + slopes @ slopes.transpose(1, 2) - shared @ inverse @ shared.transpose(1, 2)
        gradient = gradient + (slopes @ residual[:, number, :, None])[:, :, 0]  # residual is orthogonal to Phi
    return cost, normal, gradient


def as_maps(maps: object) -> torch.Tensor:
    """Maps as float32 [feature, map, n]."""
    import torch

    return torch.as_tensor(maps, dtype=torch.float32)
