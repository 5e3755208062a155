"""The network: made by its library, or by `network.py` beside this file, with the weights that were submitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from . import weights


def build(about: Mapping[str, Any]) -> nn.Module:
    """The network in evaluation mode. Raises RuntimeError unless its tensors are those that were submitted."""
    make = {"torchvision": _torchvision, "timm": _timm, "transformers": _transformers, "network.py": _own}
    network = make[about["library"]](about)
    if about.get("weights") is not None:
        network.load_state_dict(weights.tensors(about["weights"]))
    if (found := weights.state_sha256(network)) != about["state_sha256"]:
        raise RuntimeError(
            f"The network's tensors are not those that were submitted (sha256 {found}, expected "
            f"{about['state_sha256']}): its library has other weights, or makes another network."
        )
    return network.eval()


def _torchvision(about: Mapping[str, Any]) -> nn.Module:
    import torchvision

    network = torchvision.models.get_model(about["architecture"], weights=None, **about["options"])
    if (source := about.get("pretrained")) is not None:
        state = torch.hub.load_state_dict_from_url(
            source["url"], map_location="cpu", check_hash=True, weights_only=True
        )
        network.load_state_dict(state)
    return network


def _timm(about: Mapping[str, Any]) -> nn.Module:
    import timm

    source = about.get("pretrained")
    pinned = {} if source is None else {"hf_hub_id": f"{source['repository']}@{source['revision']}"}
    options = {**about["options"], **({"pretrained_cfg_overlay": pinned} if pinned else {})}
    return timm.create_model(about["architecture"], pretrained=source is not None, **options)


def _transformers(about: Mapping[str, Any]) -> nn.Module:
    import transformers

    kind = getattr(transformers, about["architecture"])
    attention = {} if about["attention"] is None else {"attn_implementation": about["attention"]}
    content = dict(about["options"])
    config = transformers.AutoConfig.for_model(content.pop("model_type"), **content)
    if (source := about.get("pretrained")) is None:
        return kind._from_config(config, **attention)
    return kind.from_pretrained(
        source["repository"], revision=source["revision"], config=config, use_safetensors=True, **attention
    )


def _own(about: Mapping[str, Any]) -> nn.Module:
    from . import network  # type: ignore[attr-defined]

    return getattr(network, about["architecture"])(**about["options"])
