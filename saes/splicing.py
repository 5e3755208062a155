"""What a network makes of reconstructions: a site's value is replaced by what its dictionary gives, and the output is
held against the original one, with zero- and mean-ablation of the site for scale."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch.nn import functional

from bridge.errors import ConfigError, InputError, did_you_mean
from bridge.interventions import Edit, ablated, replaced, site_means
from bridge.streams import Tap, run, tapped
from saes.identity import plain_site
from saes.sae import SparseAutoencoder

if TYPE_CHECKING:
    from bridge.models.base import Backbone


@dataclass(frozen=True)
class Effect:
    """A changed network's output beside the original one, means over outputs. None: does not apply."""

    cosine: float
    """Cosine of the two outputs; 0 where one of them is 0."""
    kl: float | None
    """KL(original || changed) of the classes, in nats; None where the output is not logits."""
    agreement: float | None
    """Share of outputs with the same first class."""
    accuracy: float | None
    """Share of outputs whose first class is the label; None without labels."""
    cross_entropy: float | None
    """-log p(label), in nats."""


@dataclass(frozen=True)
class Splicing:
    """The effect of splicing on a network's output, between the original network and an ablated site."""

    outputs: int
    """How many outputs were compared: one a stimulus, or one a token of a text."""
    original: Effect
    spliced: Effect
    zero: Effect
    """The site put to 0."""
    mean: Effect
    """The site put to its mean value."""
    loss: Literal["cross-entropy", "kl", "1 - cosine"]
    """What is recovered: the first that applies."""
    recovered_zero: float
    """Loss recovered, 1 - (spliced - original) / (ablated - original): 1 is as good as the original, 0 as the ablated
    site. NaN where the ablation does no harm."""
    recovered_mean: float

    def as_json(self) -> dict[str, Any]:
        """All numbers as JSON values (None for NaN)."""
        return {key: None if value != value else value for key, value in asdict(self).items()}


def reconstruction(sae: SparseAutoencoder) -> Callable[[torch.Tensor], torch.Tensor]:
    """A dictionary as an edit of a stream: [batch, tokens, d_in] to its reconstruction, in the stream's type, without
    gradients. (`replaced(backbone, {site: reconstruction(sae)})`.)"""

    @torch.no_grad()
    def edit(value: torch.Tensor) -> torch.Tensor:
        x = value.reshape(-1, value.shape[-1]).to(sae.W_enc.device)
        out = sae.decode_sparse(sae.encode_sparse(x), x)
        return out.reshape(*value.shape[:-1], -1).to(value)

    return edit


def spliced(
    backbone: Backbone, saes: SparseAutoencoder | Sequence[SparseAutoencoder], *, error: bool = False
) -> AbstractContextManager[None]:
    """Within this context the sites of some dictionaries hold their reconstructions.

    A transcoder reads one site and replaces the other. With `error`, what the dictionary does not express is added
    again, so that nothing changes until an edit does (Marks et al. 2024, section 2).

    Raises ConfigError for dictionaries that do not name a site of this network, name one twice, or are crosscoders;
    InputError for another width.
    """
    saes = [saes] if isinstance(saes, SparseAutoencoder) else list(saes)
    taken = [_sites_of(backbone, sae) for sae in saes]
    targets = [target for _, target in taken]
    if len(set(targets)) < len(targets):
        raise ConfigError(f"Several dictionaries replace one site ({', '.join(sorted(targets))}); splice one a site.")
    if all(source == target for source, target in taken):
        edits: dict[str, Edit] = {site: reconstruction(sae) for site, sae in zip(targets, saes, strict=True)}
        return replaced(backbone, edits, reconstruct=edits if error else None)
    if len(saes) > 1:
        raise ConfigError("Transcoders are spliced one at a time; enter a context for each.")
    source, target = taken[0]
    return tapped(backbone, _transcoding(reconstruction(saes[0]), source, target, error))


def _transcoding(give: Edit, source: str, target: str, error: bool) -> dict[str, Tap]:
    held: list[torch.Tensor] = []

    def keep(value: torch.Tensor) -> None:
        held[:] = [value.detach().clone()]

    def put(value: torch.Tensor) -> torch.Tensor:
        new = give(held[0]).to(value)
        return new + (value - new) if error else new

    return {source: keep, target: put}


def splicing(
    backbone: Backbone,
    saes: SparseAutoencoder | Sequence[SparseAutoencoder],
    batches: Iterable[Any],
    *,
    logits: bool = True,
    means: Mapping[str, np.ndarray] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Splicing:
    """How a network's output changes when dictionaries stand in for their sites.

    `batches` are prepared inputs, or pairs (inputs, labels) with labels int [batch] (texts: [batch, tokens], negative
    ones do not count). `logits` says whether the output is logits; for networks without classes only the cosine is
    taken, of the pooled or last hidden output. `means` [d] by site are those of mean-ablation, by default the sites'
    means over the same batches, which are then read twice. `progress` is called with the number of outputs so far.

    Raises what `spliced` raises, and InputError for no batches, batches that cannot be read twice, labels of another
    shape, and outputs that are not finite.
    """
    saes = [saes] if isinstance(saes, SparseAutoencoder) else list(saes)
    sites = [_sites_of(backbone, sae)[1] for sae in saes]
    if means is None:
        if iter(batches) is batches:
            raise InputError("The batches can be read once only, and mean-ablation needs them before; give a list.")
        means = site_means(backbone, (_inputs(batch)[0] for batch in batches), sites)
    changes: dict[str, Callable[[], AbstractContextManager[None]]] = {
        "original": nullcontext,
        "spliced": lambda: spliced(backbone, saes),
        "zero": lambda: ablated(backbone, sites),
        "mean": lambda: ablated(backbone, sites, mean=means),
    }
    sums = {name: _Sums() for name in changes}
    for batch in batches:
        inputs, labels = _inputs(batch)
        mask = backbone.token_mask(inputs)
        original: torch.Tensor | None = None
        for name, change in changes.items():
            with torch.inference_mode(), change():
                output = output_of(run(backbone, inputs)).double()
            if original is None:
                original = output
            sums[name].add(*_rows(original, output, labels, mask), logits)
        if progress is not None:
            progress(sums["original"].count)
    count = sums["original"].count
    if not count:
        raise InputError("No batches were given to splice the dictionary into; give at least one.")
    effects = {name: one.effect(logits) for name, one in sums.items()}
    if bad := [name for name, effect in effects.items() if not np.isfinite(effect.cosine)]:
        raise InputError(f"The {bad[0]} network's output is not finite; check its inputs and the dictionary.")
    which, losses = _losses(effects)
    recovered = {name: _recovered(losses, name) for name in ("zero", "mean")}
    return Splicing(
        outputs=count, loss=which, recovered_zero=recovered["zero"], recovered_mean=recovered["mean"], **effects
    )


class _Sums:
    """Running sums of one network's outputs beside the original ones."""

    def __init__(self) -> None:
        self.count = self.labelled = 0
        self.cosine = self.kl = self.same = self.right = self.surprise = 0.0

    def add(self, original: torch.Tensor, output: torch.Tensor, labels: torch.Tensor | None, logits: bool) -> None:
        """original, output float64 [outputs, values]; labels int [outputs], negative where there is none."""
        self.count += len(output)
        self.cosine += float(functional.cosine_similarity(original, output, dim=1, eps=1e-150).sum())
        if not logits:
            return
        p, q = original.log_softmax(dim=1), output.log_softmax(dim=1)
        self.kl += float((p.exp() * (p - q)).sum())
        first = output.argmax(dim=1)
        self.same += float((first == original.argmax(dim=1)).sum())
        if labels is not None:
            known = labels >= 0
            self.labelled += int(known.sum())
            self.right += float((first == labels)[known].sum())
            self.surprise -= float(q[known].gather(1, labels[known][:, None]).sum())

    def effect(self, logits: bool) -> Effect:
        """The means."""
        n, labelled = self.count, self.labelled
        return Effect(
            cosine=self.cosine / n,
            kl=self.kl / n if logits else None,
            agreement=self.same / n if logits else None,
            accuracy=self.right / labelled if labelled else None,
            cross_entropy=self.surprise / labelled if labelled else None,
        )


def _losses(
    effects: Mapping[str, Effect],
) -> tuple[Literal["cross-entropy", "kl", "1 - cosine"], dict[str, float]]:
    if effects["original"].cross_entropy is not None:
        return "cross-entropy", {name: one.cross_entropy or 0.0 for name, one in effects.items()}
    if effects["original"].kl is not None:
        return "kl", {name: one.kl or 0.0 for name, one in effects.items()}
    return "1 - cosine", {name: 1 - one.cosine for name, one in effects.items()}


def _recovered(losses: Mapping[str, float], ablation: str) -> float:
    harm = losses[ablation] - losses["original"]
    return 1 - (losses["spliced"] - losses["original"]) / harm if harm > 0 else float("nan")


def _inputs(batch: Any) -> tuple[Any, torch.Tensor | None]:
    return (batch[0], torch.as_tensor(batch[1])) if isinstance(batch, tuple) else (batch, None)


def output_of(output: Any) -> torch.Tensor:
    """The tensor that counts as a network's output: itself, or a model output's logits, pooled or last hidden value.

    Raises InputError for an output without any of these.
    """
    if isinstance(output, torch.Tensor):
        return output
    for name in ("logits", "pooler_output", "last_hidden_state"):
        if isinstance(value := getattr(output, name, None), torch.Tensor):
            return value
    if isinstance(output, tuple | list) and output and isinstance(output[0], torch.Tensor):
        return output[0]
    raise InputError(f"The network's output is a {type(output).__name__} without logits or hidden values.")


def _rows(
    original: torch.Tensor, output: torch.Tensor, labels: torch.Tensor | None, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Outputs one a row, without padding: original and changed [outputs, values], and labels [outputs]."""
    if labels is not None and tuple(labels.shape) != tuple(output.shape[:-1]):
        raise InputError(
            f"Labels of shape {list(labels.shape)} were given for outputs of shape {list(output.shape)}; give "
            f"{list(output.shape[:-1])}."
        )
    kept: Any = slice(None)
    if mask is not None and output.ndim == 3:
        kept = mask.flatten().to(output.device)
    flat = [value.reshape(-1, value.shape[-1])[kept] for value in (original, output)]
    return flat[0], flat[1], None if labels is None else labels.flatten().to(output.device)[kept]


def _sites_of(backbone: Backbone, sae: SparseAutoencoder) -> tuple[str, str]:
    """The site that a dictionary reads and the one that it gives, checked against the network."""
    metadata = sae.config.metadata
    if metadata.get("sites"):
        raise ConfigError("A crosscoder needs all its sites at once and cannot be spliced into one pass.")
    source = None if sae.site is None else plain_site(sae.site)
    target = metadata.get("hook_name_out") if sae.config.transcodes else source
    target = None if target is None else plain_site(target)
    for name, width in ((source, sae.d_in), (target, sae.config.width_out)):
        if name is None:
            raise ConfigError("The dictionary's metadata do not name its site; give it one (`hook_name`).")
        if name not in backbone.sites:
            raise ConfigError(
                f"The dictionary is of {name}, which {backbone.name} lacks; {did_you_mean(name, backbone.sites)}."
            )
        if backbone.sites[name].width != width:
            raise InputError(
                f"The dictionary is of width {width} and {backbone.name}'s {name} of {backbone.sites[name].width}; "
                "give one that was trained on this site."
            )
    assert source is not None
    assert target is not None
    return source, target
