"""The network with features of its residual stream: one module, whose features Brain-Score reads by their names.

A site is a place in the stream, named as TransformerLens names it (blocks.3.hook_resid_post). Hooks on a few modules of
the network hand the site's value to a `Feature`, which gives [batch, features]: pooled over places, so that a layer's
features merge with a classifier's, and 3,200 images of them fit into memory.

The features stand before the network among the module's children: Brain-Score takes the last child for the logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from .dictionary import Dictionary

TOKENS = 4096
"""Tokens that are encoded at once: the latents of a whole batch would take gigabytes."""


class Feature(nn.Module):
    """Features of one site, pooled: [batch, tokens, d] -> [batch, features].

    kind: raw       the stream itself
          sae       latents of a dictionary
          simple, complex    those latents whose numbers are given
          ablated   the stream less what the latents with these numbers write
    pool: mean or max over places (the first `prefix` tokens, class or registers, are none), or the class token.
    """

    def __init__(
        self, kind: str, pool: str, prefix: int, dictionary: Dictionary | None = None, latents: list[int] | None = None
    ):
        super().__init__()
        self.kind, self.pool, self.prefix = kind, pool, prefix
        self.dictionary = dictionary
        self.latents: torch.Tensor | None
        self.register_buffer("latents", None if latents is None else torch.tensor(latents))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Features of some images; no image's depend on another's."""
        kept = tokens[:, :1] if self.pool == "class" else tokens[:, self.prefix :]
        images = max(1, TOKENS // kept.shape[1])
        return torch.cat([self._pooled(self._features(part)) for part in kept.split(images)]).float()

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        if self.dictionary is None:
            return x
        latents = self.dictionary.encode(x)
        if self.latents is None:
            return latents
        if self.kind == "ablated":
            return x - self.dictionary.written(latents, x, self.latents)
        return latents[..., self.latents]

    def _pooled(self, features: torch.Tensor) -> torch.Tensor:
        return features.amax(1) if self.pool == "max" else features.mean(1)


class Stream(nn.Module):
    """A network and the features of its sites. `stream.SITE` are the features, `network` is the network.

    sites: by name, its kind and the map of its block (see `_Block`); layout: nchw or nhwc for grids, btc for tokens.
    """

    def __init__(
        self, network: nn.Module, sites: Mapping[str, Mapping[str, Any]], features: Mapping[str, Feature], layout: str
    ):
        super().__init__()
        self.stream = nn.ModuleDict()  # before the network: see above
        self.network = network
        blocks: dict[str, _Block] = {}
        for name, feature in features.items():
            _place(self.stream, name, feature)
            about = sites[name]
            block = blocks.setdefault(about["block"]["module"], _Block(about["block"], layout))
            block.features[about["kind"]] = feature
        for block in blocks.values():
            block.hook(network)

    def forward(self, images: torch.Tensor) -> Any:
        """The network's own output; features are read by hooks."""
        return self.network(images)


def _place(folder: nn.ModuleDict, name: str, feature: Feature) -> None:
    *parents, last = name.split(".")
    for parent in parents:
        if parent not in folder:
            folder[parent] = nn.ModuleDict()
        folder = folder[parent]  # type: ignore[assignment]
    folder[last] = feature


class _Block:
    """One residual block: where its sites are read.

    `about` names modules of the network: `module` is the block; `write` and `skip` what it adds up, `attn` and `mlp` a
    transformer's branches, where it has them. `plain` blocks pass nothing on; one that `overwrites` changes its input.
    """

    def __init__(self, about: Mapping[str, Any], layout: str):
        self.about, self.layout = about, layout
        self.features: dict[str, Feature] = {}
        self.seen: dict[str, torch.Tensor] = {}

    def hook(self, network: nn.Module) -> None:
        module = network.get_submodule(self.about["module"])
        module.register_forward_pre_hook(self._on_input, with_kwargs=True)
        for part in ("write", "skip", "attn", "mlp"):
            if self.about.get(part):
                network.get_submodule(self.about[part]).register_forward_hook(self._on(part))
        module.register_forward_hook(self._on_output)

    def _give(self, kind: str, value: torch.Tensor) -> None:
        feature = self.features.get(kind)
        if feature is None or not feature._forward_hooks:  # nobody reads it: nothing is encoded
            return
        if value.ndim == 4:
            value = value.flatten(2).transpose(1, 2) if self.layout == "nchw" else value.flatten(1, 2)
        feature(value)

    def _on_input(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        value = _first(args[0] if args else kwargs.get("hidden_states", next(iter(kwargs.values()), None)))
        self.seen = {"pre": value.clone() if self.about.get("overwrites") else value}
        self._give("resid_pre", value)

    def _on(self, part: str) -> Any:
        def hook(_: nn.Module, args: Any, output: Any) -> None:
            self.seen[part] = value = _first(output)
            if part == "attn":
                self._give("attn_out", value)
                if not self.about.get("parallel"):
                    self._give("resid_mid", self.seen["pre"] + value)
            elif part == "mlp":
                self._give("mlp_out", value)
            else:
                self._give(part, value)
                self._summed()

        return hook

    def _summed(self) -> None:
        """The sum before the non-linearity, as soon as both of its parts are known (they may be overwritten later)."""
        write = self.seen.get("write")
        if write is None:
            return
        skip = self.seen.get("skip")
        if not self.about.get("skip"):
            skip = torch.zeros_like(write) if self.about.get("plain") else self.seen["pre"]
            self._give("skip", skip)
        if skip is not None:
            self._give("resid_post_preact", write + skip)

    def _on_output(self, _: nn.Module, args: Any, output: Any) -> None:
        pre, post = self.seen["pre"], _first(output)
        if not self.about.get("write"):
            self._give("write", self._added(pre, post))
            self._give("skip", torch.zeros_like(post) if self.about.get("plain") else pre)
        self._give("resid_post", post)
        if pre.shape == post.shape:
            self._give("delta", post - pre)
        self.seen = {}

    def _added(self, pre: torch.Tensor, post: torch.Tensor) -> torch.Tensor:
        if self.about.get("plain"):
            return post
        if "attn" in self.seen and "mlp" in self.seen:
            return self.seen["attn"].reshape(pre.shape) + self.seen["mlp"].reshape(pre.shape)
        return post - pre


def _first(value: Any) -> torch.Tensor:
    return value[0] if isinstance(value, tuple | list) else value
