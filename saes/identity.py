"""Whether a dictionary is of the model and the site at hand, by what its metadata name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bridge.errors import ConfigError, InputError, did_you_mean

if TYPE_CHECKING:
    from bridge.models.base import Backbone
    from saes.sae import SparseAutoencoder

ALIASES = {"hook_in": "hook_resid_pre", "hook_out": "hook_resid_post"}
"""TransformerLens's other names of the same sites."""


def same_model(one: str, other: str) -> bool:
    """Whether two names are of one model: equal but for case, punctuation, and what stands before a `/` or `:` (the
    library or the organisation).

    >>> same_model("open-clip:laion/CLIP-ViT-B-32", "CLIP ViT-B/32")
    True
    """

    def core(name: str) -> set[str]:
        parts = [name, re.sub(r"^[^:]*:", "", name)]
        parts += [re.sub(r"^[^/]*/", "", part) for part in parts]
        return {re.sub(r"[^a-z0-9]", "", part.lower()) for part in parts}

    return bool(core(one) & core(other))


def plain_site(name: str) -> str:
    """A site by this project's name, where TransformerLens has another for it."""
    head, _, last = name.rpartition(".")
    return f"{head}.{ALIASES[last]}" if last in ALIASES and head.startswith("blocks.") else name


def check_model(metadata: Mapping[str, Any], model: Backbone | None) -> None:
    """Raises ConfigError, with both names, if a dictionary is of another model. The weights decide where the
    dictionary recorded their sha256, else the names; a dictionary that names neither passes."""
    if model is None:
        return
    trained, weights = metadata.get("model_name"), metadata.get("weights")
    if isinstance(weights, str):
        from bridge.activations import weights_sha256

        if (found := weights_sha256(model)) != weights:
            raise ConfigError(
                f"The dictionary was trained on {trained or 'a model'} with weights {weights[:12]}..., and the model "
                f"at hand, {model.name}, has weights {found[:12]}...: give the model that it was trained on."
            )
    elif trained and not same_model(str(trained), model.name):
        raise ConfigError(
            f"The dictionary was trained on {trained}, and the model at hand is {model.name}; give the model that it "
            "was trained on (`saes.load(..., force=True)` takes two names of one)."
        )


def check_site(sae: SparseAutoencoder, model: Backbone | None, site: str | None) -> None:
    """Raises ConfigError, with both names, if a dictionary is of another site, or its site is not one of the model's
    or of another width there."""
    metadata = sae.config.metadata
    named = [str(name) for name in metadata.get("sites") or ([sae.site] if sae.site else [])]
    trained = [plain_site(name) for name in named]
    wanted = None if site is None else plain_site(site)
    if wanted is not None and trained and wanted not in trained:
        raise ConfigError(
            f"The dictionary was trained at {', '.join(named)}, and the site at hand is {site}; give that site's."
        )
    if model is None or not (places := trained or ([wanted] if wanted else [])):
        return
    for place in places:
        if place not in model.sites:
            raise ConfigError(
                f"The dictionary is of {place}, which {model.name} does not have; {did_you_mean(place, model.sites)}."
            )
    width = sum(model.sites[place].width for place in places)
    if width != sae.d_in:
        raise ConfigError(
            f"The dictionary reads {sae.d_in} values and {', '.join(places)} of {model.name} has {width}; give a "
            "dictionary of this model."
        )


def check_activations(metadata: Mapping[str, Any], activations: object) -> None:
    """Raises InputError if captured activations are of other weights than those that a dictionary recorded."""
    manifest = getattr(activations, "manifest", None)
    if not isinstance(manifest, dict) or not isinstance(metadata.get("weights"), str):
        return
    if manifest.get("weights") != metadata["weights"]:
        raise InputError(
            f"The activations are of {manifest.get('model')} with weights {str(manifest.get('weights'))[:12]}..., and "
            f"the dictionary was trained on {metadata.get('model_name') or 'a model'} with weights "
            f"{metadata['weights'][:12]}...; capture that model's."
        )
