"""The residual stream: its sites, their names, and the one mechanism that reads and changes them.

Names are TransformerLens's for every network. Block N of a ResNet, a vision transformer or a language model has

    blocks.N.hook_resid_pre           what comes into the block (blocks.0: the stem or embedding)
    blocks.N.hook_skip                what it passes on: its input, or the projection shortcut's output
    blocks.N.hook_write               what it adds
    blocks.N.hook_resid_post_preact   skip + write, where a non-linearity follows the sum (ResNet v1)
    blocks.N.hook_resid_mid           between attention and MLP (transformers)
    blocks.N.hook_attn_out, hook_mlp_out
    blocks.N.hook_resid_post          what leaves the block
    blocks.N.hook_delta               resid_post - resid_pre, where both share a basis (read only)

Parallel transformers (GPT-NeoX, GPT-J) have no `resid_mid`: both branches read resid_pre.

How: forward hooks on a few modules a block, named by its `BlockMap`. A site's value is handed to a *tap*, a
callable, as [batch, tokens, d]; what the tap returns, if anything, takes its place in the network. A change of the
skip or the sum is made by adding the difference to whichever branch the network evaluates last, so no forward pass
is written again here and any model version works. (Such a change is exact to rounding; changes of the other sites
are exact, and a tap that gives back what it got changes no bit.)

Taps nest: within several `tapped` contexts every site hands its value to their taps in the order in which the
contexts were entered, each tap seeing what the ones before it left.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from bridge.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    import torch

    from bridge.models.base import Backbone

Kind = Literal[
    "resid_pre", "skip", "write", "resid_post_preact", "attn_out", "resid_mid", "mlp_out", "resid_post", "delta"
]
KINDS: tuple[Kind, ...] = (
    "resid_pre", "skip", "write", "resid_post_preact", "attn_out", "resid_mid", "mlp_out", "resid_post", "delta",
)  # fmt: skip
Tap = Callable[["torch.Tensor"], "torch.Tensor | None"]


@dataclass(frozen=True)
class BlockMap:
    """Where one residual block is touched: paths of modules inside the network.

    `module` is the block: its first input is the incoming stream, its output the outgoing one.
    `write` and `skip` are modules whose outputs the block adds up; without `write`, the write is the sum of `attn`
    and `mlp`, or without these output minus input; without `skip`, the skip is the input itself. `attn` and `mlp`
    are a transformer's two branches as they are added (after any scaling); `parallel` says that both read the
    block's input, so that there is no resid_mid. `act` says that a non-linearity follows the sum (needs `write`).
    `plain` says that nothing is skipped: the skip is zero and the sum is the write. `projected` says that the skip
    changes the basis. `overwrites` says that the block changes its input tensor in place (found by measurement, not
    to be stated).
    """

    module: str
    stage: int
    write: str | None = None
    skip: str | None = None
    attn: str | None = None
    mlp: str | None = None
    parallel: bool = False
    act: bool = False
    plain: bool = False
    projected: bool = False
    overwrites: bool = False


@dataclass(frozen=True)
class Site:
    """A named place in a stream.

    `depth` is the share of blocks behind it (0 for the stem, 1 for the last block's output). `tokens` are laid out
    as `prefix` tokens (class token, registers), then `grid` row by row if there is one. Two sites of one network
    share their basis exactly if `basis` is equal.
    """

    name: str
    kind: Kind
    block: int
    stage: int
    depth: float
    width: int
    tokens: int
    grid: tuple[int, int] | None
    prefix: int
    basis: str

    def as_json(self) -> dict[str, Any]:
        """The site as JSON values; `Site.from_json` inverts it."""
        return {**self.__dict__, "grid": list(self.grid) if self.grid else None}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Site:
        """A site from what `as_json` gave."""
        return Site(**{**values, "grid": tuple(values["grid"]) if values["grid"] else None})


def match_sites(patterns: str | Sequence[str], names: Sequence[str]) -> list[str]:
    """The sites that match any of the globs (`blocks.*.hook_resid_post`), in the order of `names`, each once.

    `stem` stands for `blocks.0.hook_resid_pre`. Raises ConfigError, with the nearest name, for a pattern that
    matches nothing.
    """
    chosen: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        glob = "blocks.0.hook_resid_pre" if pattern == "stem" else pattern
        found = fnmatch.filter(names, glob)
        if not found:
            raise ConfigError(f"No site matches {pattern!r}; {did_you_mean(pattern, names)}.")
        chosen.update(found)
    return [name for name in names if name in chosen]


def split_name(name: str) -> tuple[int, Kind]:
    """Block index and kind of a site's name. Raises ConfigError for a name of another form."""
    parts = name.split(".")
    if len(parts) == 3 and parts[0] == "blocks" and parts[1].isdigit() and parts[2].startswith("hook_"):
        kind = parts[2].removeprefix("hook_")
        for known in KINDS:
            if kind == known:
                return int(parts[1]), known
    raise ConfigError(
        f"{name!r} is not a site's name; expected blocks.N.hook_KIND with KIND one of {', '.join(KINDS)}."
    )


# ------------------------------------------------------------------------------------------------ the mechanism


class _Stop(Exception):
    """Raised inside a forward pass once everything that was asked for has been seen."""


def first_tensor(value: Any) -> torch.Tensor:
    """The stream in a module's inputs or outputs: the tensor itself, or the first of a tuple."""
    return value[0] if isinstance(value, tuple | list) else value


def stream_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> torch.Tensor:
    """The incoming stream among a block's arguments: the first, by position or by name."""
    return first_tensor(args[0] if args else kwargs[_stream_key(kwargs)])


def _stream_key(kwargs: Mapping[str, Any]) -> str:
    return next((key for key in ("hidden_states", "x") if key in kwargs), None) or next(iter(kwargs))


@dataclass
class _Pass:
    """What one block has seen in the current forward pass, in the network's own layout."""

    pre: torch.Tensor | None = None
    write: torch.Tensor | None = None
    skip: torch.Tensor | None = None
    attn: torch.Tensor | None = None
    mlp: torch.Tensor | None = None


@dataclass
class TapLayer:
    """The taps of one `tapped` context, and which of them the current pass has not reached yet."""

    taps: Mapping[str, Tap]
    stop: bool
    waiting: set[str] = field(default_factory=set)


@dataclass
class _BlockHooks:
    """The hooks of one block: they hand its sites to the taps and put back what the taps return."""

    block: BlockMap
    to_tokens: Callable[[torch.Tensor], torch.Tensor]
    from_tokens: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    taps: dict[str, list[tuple[Tap, Callable[[], None]]]]
    now: _Pass = field(default_factory=_Pass)

    def wants(self, *kinds: Kind) -> bool:
        return any(kind in self.taps for kind in kinds)

    def offer(self, kind: Kind, value: torch.Tensor) -> torch.Tensor:
        """Hand `value` to the taps of this kind; the value that the network goes on with."""
        for tap, seen in self.taps.get(kind, ()):
            changed = tap(self.to_tokens(value))
            if changed is not None and kind != "delta":
                value = self.from_tokens(changed, value)
            seen()
        return value

    # Each method below is a hook on one module; it returns the module's new output, or None to leave it alone.

    def on_input(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.now = _Pass()
        key = None if args else _stream_key(kwargs)
        old = stream_of(args, kwargs)
        new = self.offer("resid_pre", old)
        self.now.pre = new.clone() if self.block.overwrites else new
        if new is old:
            return None
        return ((new, *args[1:]), kwargs) if key is None else (args, {**kwargs, key: new})

    def on_write(self, module: Any, args: Any, output: Any) -> Any:
        old = first_tensor(output)
        new = self.offer("write", old)
        self.now.write = new
        if self.block.skip is not None and self.now.skip is None:
            # The skip is still to run: `on_skip` sees to the sum. (Networks that add in place do so after it.)
            return _replaced(output, new, old)
        if self.block.skip is not None:
            passed_on = _known(self.now.skip)
        else:
            passed_on = old.new_zeros(()).expand_as(old) if self.block.plain else _known(self.now.pre)
            self.now.skip = self.offer("skip", passed_on)
        return _replaced(output, self._add(branch=new, other=passed_on), old)

    def on_skip(self, module: Any, args: Any, output: Any) -> Any:
        old = first_tensor(output)
        self.now.skip = new = self.offer("skip", old)
        if self.now.write is None:
            return _replaced(output, new, old)
        return _replaced(output, self._add(branch=new, other=self.now.write), old)

    def _add(self, branch: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The branch that the network will add to `other`, such that their sum is what the taps ask for."""
        if not self.wants("skip", "resid_post_preact"):
            return branch
        total = _known(self.now.write) + _known(self.now.skip)
        wanted = self.offer("resid_post_preact", total)
        skip_differs = branch is self.now.write and not _same(_known(self.now.skip), other)
        return wanted - other if skip_differs or not _same(wanted, total) else branch

    def on_attn(self, module: Any, args: Any, output: Any) -> Any:
        old = first_tensor(output)
        new = self.offer("attn_out", old)
        if self.wants("resid_mid"):
            pre = _known(self.now.pre)
            middle = pre + new
            wanted = self.offer("resid_mid", middle)
            new = new if _same(wanted, middle) else wanted - pre
        self.now.attn = new
        return _replaced(output, new, old)

    def on_mlp(self, module: Any, args: Any, output: Any) -> Any:
        old = first_tensor(output)
        self.now.mlp = new = self.offer("mlp_out", old)
        return _replaced(output, new, old)

    def on_output(self, module: Any, args: Any, output: Any) -> Any:
        old = new = first_tensor(output)
        pre = _known(self.now.pre)
        if self.block.write is None and self.wants("write", "skip"):
            passed_on = old.new_zeros(()).expand_as(old) if self.block.plain else pre
            added = self._added(old, passed_on)
            write, skip = self.offer("write", added), self.offer("skip", passed_on)
            if not (_same(write, added) and _same(skip, passed_on)):
                new = write + skip
        new = self.offer("resid_post", new)
        if self.wants("delta"):
            self.offer("delta", new - pre)
        self.now = _Pass()
        return _replaced(output, new, old)

    def _added(self, post: torch.Tensor, pre: torch.Tensor) -> torch.Tensor:
        """What the block added: the sum of its branches where they are known, since output minus input loses digits
        where the write is small beside the stream."""
        if self.block.plain:
            return post
        if self.now.attn is None or self.now.mlp is None:
            return post - pre
        return self.now.attn.reshape(pre.shape) + self.now.mlp.reshape(pre.shape)


def _known(value: torch.Tensor | None) -> torch.Tensor:
    if value is None:
        raise RuntimeError("a block's parts ran in an order that its map does not describe")
    return value


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether `a` can stand for `b`: equal values, and no derivative that would be lost."""
    import torch
    from torch.autograd.forward_ad import unpack_dual

    if a is b:
        return True
    if a.requires_grad or b.requires_grad or unpack_dual(a).tangent is not None or unpack_dual(b).tangent is not None:
        return False
    return torch.equal(a, b)


def _replaced(output: Any, new: torch.Tensor, old: torch.Tensor) -> Any:
    if new is old:
        return None
    return (new, *output[1:]) if isinstance(output, tuple) else new


@contextmanager
def tapped(backbone: Backbone, taps: Mapping[str, Tap], *, stop: bool = False) -> Iterator[None]:
    """Within this context, every forward pass of `backbone.module` hands the named sites to their taps.

    A tap gets [batch, tokens, d] and returns None, or what shall stand there instead (same shape). The tensor that
    it gets may be overwritten by the network later: a tap that keeps it must copy it. `delta` is read only: what its
    tap returns is ignored. With `stop`, a pass ends by a private exception after the last tap (use `run` to call the
    network). The hooks come off again in every case. Contexts nest (see above); one network serves one thread.

    Raises ConfigError for a name that this network does not have.
    """
    for name in taps:
        if name not in backbone.sites:
            raise ConfigError(f"{backbone.name} has no site {name!r}; {did_you_mean(name, backbone.sites)}.")
    layer = TapLayer(dict(taps), stop and bool(taps))
    backbone.layers.append(layer)
    try:
        _hook_up(backbone)
        yield
    finally:
        # By identity: contexts may be left in another order than they were entered.
        backbone.layers[:] = [other for other in backbone.layers if other is not layer]
        _hook_up(backbone)


def _hook_up(backbone: Backbone) -> None:
    """Take all hooks off and put on those that the current layers of taps need: one set for all of them, so that
    a site's value does not depend on which context it was asked for in."""
    handles = backbone.handles
    while handles:
        handles.pop().remove()
    layers = list(backbone.layers)
    per_block: dict[int, dict[str, list[tuple[Tap, Callable[[], None]]]]] = {}
    for layer in layers:
        for name, tap in layer.taps.items():
            index, kind = split_name(name)
            seen = _seen(layer, name, layers)
            per_block.setdefault(index, {}).setdefault(kind, []).append((tap, seen))
    if not per_block:
        return

    def start(module: Any, args: Any) -> None:
        # A pass that was cut short leaves nothing behind: what is waited for is set anew at its start.
        for layer in layers:
            layer.waiting = set(layer.taps)

    module_of = backbone.module.get_submodule
    handles.append(backbone.module.register_forward_pre_hook(start, prepend=True))
    for index, mine in per_block.items():
        block = backbone.blocks[index]
        hooks = _BlockHooks(block, backbone.to_tokens, backbone.from_tokens, mine)
        handles.append(module_of(block.module).register_forward_pre_hook(hooks.on_input, with_kwargs=True))
        if block.write is not None and hooks.wants("write", "skip", "resid_post_preact"):
            handles.append(module_of(block.write).register_forward_hook(hooks.on_write))
            if block.skip is not None:
                handles.append(module_of(block.skip).register_forward_hook(hooks.on_skip))
        branches = block.attn is not None and block.mlp is not None and hooks.wants("write", "skip")
        if block.attn is not None and (branches or hooks.wants("attn_out", "resid_mid")):
            handles.append(module_of(block.attn).register_forward_hook(hooks.on_attn))
        if block.mlp is not None and (branches or hooks.wants("mlp_out")):
            handles.append(module_of(block.mlp).register_forward_hook(hooks.on_mlp))
        handles.append(module_of(block.module).register_forward_hook(hooks.on_output))


def _seen(layer: TapLayer, name: str, layers: Sequence[TapLayer]) -> Callable[[], None]:
    """What is called when a tap has had its value: ends the pass once every layer that may stop it is served."""

    def seen() -> None:
        layer.waiting.discard(name)
        if layer.stop and not any(other.waiting for other in layers if other.stop):
            raise _Stop

    return seen


def run(backbone: Backbone, inputs: Any) -> Any:
    """The network's output for a prepared batch, or None if a tap stopped the pass."""
    try:
        return backbone.forward(inputs)
    except _Stop:
        return None


def read(backbone: Backbone, inputs: Any, sites: Iterable[str]) -> dict[str, torch.Tensor]:
    """The values of some sites for one prepared batch: copies, [batch, tokens, d], without gradients.

    The pass stops after the last site. Raises ConfigError for an unknown site.
    """
    import torch

    values: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Tap:
        def tap(value: torch.Tensor) -> None:
            values[name] = value.detach().clone()

        return tap

    with torch.inference_mode(), tapped(backbone, {name: keep(name) for name in sites}, stop=True):
        run(backbone, inputs)
    return values
