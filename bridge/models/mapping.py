"""Finding the map of a network's residual blocks by arithmetic, for families whose library may change its modules.

For each block, the first of these that one forward pass bears out:
1. a transformer: input + attention + MLP = output;
2. a residual block: skip + write = output, or what a non-linearity makes of it;
3. a block that hands its input on when all of its weights are zero: residual, of parts that cannot be told apart.
What is none of them is refused: a difference of output and input is not what a block adds unless it adds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bridge.errors import ConfigError
from bridge.models.measure import Observation, agree, observed
from bridge.streams import BlockMap, first_tensor, stream_of

if TYPE_CHECKING:
    from torch import nn

# Children that may be what a block adds, in order of preference: what runs last on the branch comes first, since
# drop-path and layer scale may give what they got.
ATTENTION = (
    "drop_path1", "layer_scale1", "ls1", "post_self_attn_layernorm", "post_attention_layernorm",
    "attention", "self_attn", "attn", "token_mixer", "dropout", "self_attention",
)  # fmt: skip
MLP = (
    "drop_path2", "layer_scale2", "ls2", "post_mlp_layernorm", "post_feedforward_layernorm", "mlp", "feed_forward",
    "ffn", "block_sparse_moe", "fc2",
)  # fmt: skip
WRITE = (
    "drop_path", "stochastic_depth", "se", "bn4", "bn3", "norm3", "conv3", "bn2", "norm2", "conv2", "layer_scale",
    "block", "mlp", "f",
)  # fmt: skip
SKIP = ("downsample", "shortcut", "skip", "skip_connection", "proj")
BLOCK_CLASS = re.compile(
    r"(Block\d*d?|BlockPostNorm|Bottleneck|Bottle2neck|Basic|Stage_?Block|Residual|SeparableConv)$"
)


def block_paths(module: nn.Module) -> list[str]:
    """The outermost modules that are named as blocks by their class, in the order of the network's modules."""
    found: list[str] = []
    for path, child in module.named_modules():
        if BLOCK_CLASS.search(type(child).__name__) and path and not any(path.startswith(f"{f}.") for f in found):
            found.append(path)
    return found


def stages_of(paths: Sequence[str]) -> list[int]:
    """The stage of each block, from 1: blocks with the same parent are of one stage."""
    parents = list(dict.fromkeys(path.rpartition(".")[0] for path in paths))
    return [parents.index(path.rpartition(".")[0]) + 1 for path in paths]


def find_maps(module: nn.Module, name: str, paths: Sequence[str], forward: Callable[[], Any]) -> list[BlockMap]:
    """The maps of the blocks at `paths`; `forward()` runs the network once on an input that is not blank.

    Raises ConfigError where there are no blocks, or one of them is not residual in any way known here.
    """
    import torch

    found: dict[int, BlockMap] = {}
    children = {path: _present(module, path, (*ATTENTION, *MLP, *WRITE, *SKIP)) for path in paths}

    def done(index: int, seen: Observation) -> None:
        path = paths[index]
        block = _branches(path, seen) or _sum(path, seen)
        if block is None and _hands_on(module.get_submodule(path), seen):
            block = BlockMap(path, stage=1)
        if block is not None:
            found[index] = block

    if paths:
        try:
            with torch.no_grad(), observed(module, paths, lambda path: children[path], done):
                forward()
        except (RuntimeError, ValueError, AttributeError) as error:
            reason = str(error).strip().split("\n")[0]
            raise ConfigError(
                f"{name} ({type(module).__name__}) cannot run a forward pass ({reason}); state options and an image "
                "size that fit together."
            ) from error
    lost = [path for index, path in enumerate(paths) if index not in found]
    if lost or not paths:
        detail = f"block {lost[0]!r} ({type(module.get_submodule(lost[0])).__name__})" if lost else "no block"
        raise ConfigError(
            f"{name} ({type(module).__name__}) is no sequence of residual blocks that can be mapped here: {detail} "
            f"{'does not add to its input' if lost else 'was found'}; use a model of `kind: custom` and state its "
            "blocks."
        )
    if all(block.plain for block in found.values()):
        raise ConfigError(
            f"{name} ({type(module).__name__}) has blocks but no residual stream: none of them adds to its input; use "
            "a model of `kind: custom` with `plain: true` blocks if that is meant."
        )
    stages = stages_of(paths)
    return [replace(found[index], stage=stages[index]) for index in range(len(paths))]


def _branches(path: str, seen: Observation) -> BlockMap | None:
    """The map of a transformer block; `parallel` if no norm in it reads input + attention."""
    for one in ATTENTION:
        for other in MLP:
            a, m = (seen.parts.get(f"{path}.{name}", []) for name in (one, other))
            if len(a) != 1 or len(m) != 1 or not (a[0].numel() == m[0].numel() == seen.pre.numel()):
                continue
            middle = seen.pre + a[0].reshape(seen.pre.shape)
            if agree(middle + m[0].reshape(seen.pre.shape), seen.post):
                parallel = not any(agree(value, middle) for value in seen.norm_inputs)
                return BlockMap(path, stage=1, attn=f"{path}.{one}", mlp=f"{path}.{other}", parallel=parallel)
    return None


def _sum(path: str, seen: Observation) -> BlockMap | None:
    """The map of a block that adds one write to its input or to a shortcut, or of one without a shortcut."""
    skips = [f"{path}.{name}" for name in SKIP if len(seen.parts.get(f"{path}.{name}", [])) == 1]
    for skip in [*skips, None, "plain"]:
        for name in WRITE:
            outputs = seen.parts.get(f"{path}.{name}", [])
            if len(outputs) != 1:
                continue
            passed_on = seen.pre if skip is None else None if skip == "plain" else seen.parts[skip][0]
            if passed_on is not None and passed_on.shape != outputs[0].shape:
                continue
            total = outputs[0] if passed_on is None else outputs[0] + passed_on
            # The input of the last non-linearity decides, not its output: a sum of a positive stream and a write that
            # is still zero passes a ReLU unchanged.
            act = bool(seen.act_inputs) and agree(seen.act_inputs[-1], total)
            if act or agree(total, seen.post):
                return BlockMap(
                    path,
                    stage=1,
                    write=f"{path}.{name}",
                    skip=None if skip == "plain" else skip,
                    act=act,
                    plain=skip == "plain",
                )
    return None


def _hands_on(block: nn.Module, seen: Observation) -> bool:
    """Whether a copy of the block whose weights are all zero gives out what it gets."""
    import copy

    if seen.pre.shape != seen.post.shape:
        return False
    empty = copy.deepcopy(block)
    for submodule in empty.modules():
        for hooks in (submodule._forward_hooks, submodule._forward_pre_hooks):
            hooks.clear()
    for parameter in empty.parameters():
        parameter.zero_()
    args, kwargs = seen.call
    stream = stream_of(args, kwargs)
    args = tuple(seen.pre if value is stream else value for value in args)
    kwargs = {key: seen.pre if value is stream else value for key, value in kwargs.items()}
    return agree(first_tensor(empty(*args, **kwargs)), seen.pre)


def _present(module: nn.Module, path: str, names: Sequence[str]) -> list[str]:
    """The paths of those children that the block has as modules."""
    from torch import nn

    block = module.get_submodule(path)
    children = {name: getattr(block, name, None) for name in dict.fromkeys(names)}
    return [f"{path}.{name}" for name, child in children.items() if isinstance(child, nn.Module)]
