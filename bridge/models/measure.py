"""What a network's blocks really compute, found by one forward pass: shapes, and whether a map of it is true.

A map that is wrong (another library version, a scale that sits outside the module, a shortcut that was overlooked)
would give wrong streams silently. So every map is held against the pass from which widths are measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bridge.errors import ConfigError
from bridge.streams import BlockMap, Kind, Site, first_tensor, stream_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from bridge.models.base import Backbone


@dataclass
class Observation:
    """One block in one pass: what came in, what its parts gave, what went out (copies; freed after the check)."""

    pre: torch.Tensor
    parts: dict[str, list[torch.Tensor]]
    """Outputs of the modules that were asked for, one entry a call."""
    norm_inputs: list[torch.Tensor]
    act_inputs: list[torch.Tensor]
    """Inputs of the block's own activation functions (its children)."""
    post: torch.Tensor
    overwritten: bool
    continues: bool
    """Whether the input is what the block before gave out."""
    call: tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Measured:
    """What is kept of a block's pass."""

    pre_shape: tuple[int, ...]
    post_shape: tuple[int, ...]
    overwritten: bool
    continues: bool


@contextmanager
def observed(
    module: nn.Module,
    blocks: Sequence[str],
    parts: Callable[[str], Iterable[str]],
    done: Callable[[int, Observation], None],
) -> Iterator[None]:
    """Within this context a forward pass of `module` calls `done(index, observation)` after each block.

    `parts(block)` names modules inside the network whose outputs are kept for the block.
    """
    import torch

    handles: list[Any] = []
    now: dict[str, Any] = {"last": None}
    seen: dict[str, list[torch.Tensor]] = {}

    def enter(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        value = stream_of(args, kwargs)
        now.update(value=value, pre=value.detach().clone(), call=(args, kwargs), norms=[], acts=[])
        seen.clear()

    def keep(path: str) -> Any:
        def hook(_: Any, args: Any, output: Any) -> None:
            seen.setdefault(path, []).append(first_tensor(output).detach().clone())

        return hook

    def keep_input(role: str) -> Any:
        def hook(_: Any, args: tuple[Any, ...]) -> None:
            if role in now and args and isinstance(args[0], torch.Tensor):
                now[role].append(args[0].detach().clone())

        return hook

    def leave(index: int) -> Any:
        def hook(_: Any, args: Any, output: Any) -> None:
            pre, last, post = now["pre"], now["last"], first_tensor(output).detach()
            observation = Observation(
                pre=pre,
                parts=dict(seen),
                norm_inputs=now["norms"],
                act_inputs=now["acts"],
                post=post,
                overwritten=not torch.equal(now["value"], pre),
                continues=last is not None and last.shape == pre.shape and torch.equal(last, pre),
                call=now["call"],
            )
            now["last"] = post.clone()
            done(index, observation)

        return hook

    try:
        for index, path in enumerate(blocks):
            block = module.get_submodule(path)
            handles.append(block.register_forward_pre_hook(enter, with_kwargs=True))
            for part in parts(path):
                handles.append(module.get_submodule(part).register_forward_hook(keep(part)))
            for name, child in block.named_modules():
                if "norm" in name.lower() or name.rpartition(".")[2].startswith("ln"):
                    handles.append(child.register_forward_pre_hook(keep_input("norms")))
            for name, child in block.named_children():
                if is_non_linearity(name, child):
                    handles.append(child.register_forward_pre_hook(keep_input("acts")))
            handles.append(block.register_forward_hook(leave(index)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def agree(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal to the rounding of their dtype, after bringing `a` to the shape of `b` if they have as many values."""
    import torch

    if a.numel() != b.numel():
        return False
    a, b = a.reshape(b.shape).float(), b.float()
    scale = float(b.abs().max()) or 1.0
    relative = 1e-5 if torch.finfo(b.dtype).eps < 1e-6 else 3e-2
    return bool((a - b).abs().max() <= relative * scale)


# ------------------------------------------------------------------------------------------- checking a map


def watch_blocks(backbone: Backbone) -> list[tuple[BlockMap, Measured]]:
    """One pass over the example input: each block's map, completed (`projected`), and what was measured of it.

    Raises ConfigError for a block whose parts do not add up to what it gives out, and for blocks that are not run.
    """
    import torch

    maps = {block.module: block for block in backbone.blocks}
    found: dict[int, tuple[BlockMap, Measured]] = {}

    def parts(path: str) -> list[str]:
        block = maps[path]
        return [part for part in (block.write, block.skip, block.attn, block.mlp) if part is not None]

    def done(index: int, seen: Observation) -> None:
        block = backbone.blocks[index]
        if fault := fault_of(block, seen, backbone.module.get_submodule(block.module)):
            raise ConfigError(
                f"The map of block {index} ({block.module}) of {backbone.name} does not describe it: {fault}; "
                "state the modules that the block adds up, as they are added."
            )
        if block.skip is not None and not agree(seen.parts[block.skip][0], seen.pre):
            block = replace(block, projected=True)
        shapes = tuple(seen.pre.shape), tuple(seen.post.shape)
        found[index] = block, Measured(*shapes, seen.overwritten, seen.continues or index == 0)

    with torch.no_grad(), observed(backbone.module, list(maps), parts, done):
        backbone.forward(example_input(backbone))
    if missing := [block.module for index, block in enumerate(backbone.blocks) if index not in found]:
        raise ConfigError(
            f"{backbone.name} never runs its block {missing[0]!r}; name the blocks that its forward pass calls."
        )
    return [found[index] for index in range(len(backbone.blocks))]


def fault_of(block: BlockMap, seen: Observation, module: nn.Module) -> str | None:
    """What is wrong with a block's map, in words; None if it holds."""
    for role in ("write", "skip", "attn", "mlp"):
        path = getattr(block, role)
        if path is not None and len(seen.parts.get(path, ())) != 1:
            times = len(seen.parts.get(path, ()))
            return f"its {role} {path!r} runs {times} times in it, not once"
    if block.act and block.write is None:
        return "it states a non-linearity after the sum, but no `write`"
    if block.plain and block.skip is not None:
        return "it is plain, yet has a `skip`"
    if block.write is not None:
        write = seen.parts[block.write][0]
        skip = seen.parts[block.skip][0] if block.skip is not None else (None if block.plain else seen.pre)
        if skip is not None and skip.shape != write.shape:
            return f"its write is {list(write.shape)} and its skip {list(skip.shape)}, which do not add up"
        total = write if skip is None else write + skip
        if block.act and not any(agree(act(total.clone()), seen.post) for act in _non_linearities(module)):
            return "no non-linearity of skip + write gives its output"
        if not block.act and not agree(total, seen.post):
            return "skip + write is not its output" + ("" if not block.plain else " (it is said to be plain)")
    elif not block.plain and seen.pre.shape != seen.post.shape:
        return f"it turns {list(seen.pre.shape)} into {list(seen.post.shape)} without a `write` and a `skip`"
    if block.attn is not None and block.mlp is not None:
        attn, mlp = seen.parts[block.attn][0], seen.parts[block.mlp][0]
        if not agree(seen.pre + attn.reshape(seen.pre.shape) + mlp.reshape(seen.pre.shape), seen.post):
            return "input + attn + mlp is not its output"
    return None


def _non_linearities(module: nn.Module) -> list[Callable[[torch.Tensor], torch.Tensor]]:
    """The activation functions that a block has as modules, each kind once, and ReLU (often a function)."""
    from torch import nn

    found: dict[type, Callable[[torch.Tensor], torch.Tensor]] = {nn.ReLU: nn.ReLU()}
    for name, child in module.named_modules():
        if is_non_linearity(name.rpartition(".")[2], child):
            found.setdefault(type(child), child)
    return list(found.values())


def is_non_linearity(name: str, module: nn.Module) -> bool:
    """Whether a module is an activation function, by its name in its block or its class. Identities are none."""
    from torch import nn

    named = name.lower().startswith(("act", "relu", "nonlin")) or type(module).__module__ == nn.ReLU.__module__
    return named and not isinstance(module, nn.Identity) and not any(True for _ in module.parameters())


# ------------------------------------------------------------------------------------------- the sites


def kinds_of(block: BlockMap) -> tuple[Kind, ...]:
    """The kinds of site that a block has, in the order in which a forward pass reaches them."""
    kinds: list[Kind] = ["resid_pre"]
    if block.attn is not None:
        kinds += ["attn_out"]
        if not block.parallel:
            kinds += ["resid_mid"]
    if block.mlp is not None:
        kinds += ["mlp_out"]
    kinds += ["write", "skip"]
    if block.act:
        kinds += ["resid_post_preact"]
    return (*kinds, "resid_post")


def measure_sites(backbone: Backbone) -> dict[str, Site]:
    """Run the network once, note every block's widths and token layouts, and hold its map against what it computes.

    Raises ConfigError where a block's parts do not add up to its output.
    """
    found = watch_blocks(backbone)
    backbone.blocks = [replace(block, overwrites=measured.overwritten) for block, measured in found]
    sites: dict[str, Site] = {}
    basis = "stem"
    for index, (block, measured) in enumerate(found):
        if not measured.continues:
            # Something stands between the blocks: a down-sampling of its own, a norm.
            basis = f"into block {index}"
        before = basis
        if block.projected or measured.pre_shape != measured.post_shape:
            basis = f"from block {index}"
        kinds = kinds_of(block)
        if basis == before:
            kinds = (*kinds, "delta")
        for kind in kinds:
            shape = measured.pre_shape if kind == "resid_pre" else measured.post_shape
            width, tokens, grid, prefix = _layout(backbone, shape)
            name = f"blocks.{index}.hook_{kind}"
            sites[name] = Site(
                name=name,
                kind=kind,
                block=index,
                stage=block.stage,
                depth=(index + (kind != "resid_pre")) / len(backbone.blocks),
                width=width,
                tokens=tokens,
                grid=grid,
                prefix=prefix,
                basis=before if kind == "resid_pre" else basis,
            )
    return sites


def example_input(backbone: Backbone) -> Any:
    """What the network is measured on: `example`, or one image of seeded noise."""
    import torch

    like = next(backbone.module.parameters())
    if isinstance(backbone.example, dict):
        return {key: value.to(like.device) for key, value in backbone.example.items()}
    if backbone.example is not None:
        return backbone.example
    if backbone.preprocessing is None:
        raise ConfigError(f"{backbone.name} states no preprocessing and no example input; state one of them.")
    size = backbone.preprocessing.size
    noise = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    return noise.to(dtype=like.dtype, device=like.device)


def _layout(backbone: Backbone, shape: tuple[int, ...]) -> tuple[int, int, tuple[int, int] | None, int]:
    """Width, number of tokens, grid and number of prefix tokens of a stream tensor of this shape."""
    if len(shape) == 4:
        height, width, d = (shape[2], shape[3], shape[1]) if backbone.layout == "nchw" else shape[1:]
        return d, height * width, (height, width), 0
    tokens = shape[1]
    if backbone.grid is not None:
        # Some networks (CaiT) bring in their class token only after the blocks.
        prefix = tokens - backbone.grid[0] * backbone.grid[1]
        if 0 <= prefix <= backbone.prefix:
            return shape[2], tokens, backbone.grid, prefix
    side = round(max(tokens - backbone.prefix, 0) ** 0.5)
    square = backbone.preprocessing is not None and side * side == tokens - backbone.prefix
    return shape[2], tokens, (side, side) if square else None, backbone.prefix
