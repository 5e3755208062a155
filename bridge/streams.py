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

How: forward hooks on a few modules a block, named by its `BlockMap`. A site's value is handed to a *tap*, a
callable, as [batch, tokens, d]; what the tap returns, if anything, takes its place in the network. A change of the
skip or the sum is made by adding the difference to whichever branch the network evaluates last, so no forward pass
is written again here and any model version works.
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
    `write` and `skip` are modules whose outputs the block adds up; without `write`, the write is output minus input;
    without `skip`, the skip is the input itself. `attn` and `mlp` are a transformer's two branches as they are
    added (after any scaling). `act` says that a non-linearity follows the sum. `plain` says that nothing is
    skipped: the output is the write. `projected` says that the skip changes the basis.
    """

    module: str
    stage: int
    write: str | None = None
    skip: str | None = None
    attn: str | None = None
    mlp: str | None = None
    act: bool = False
    plain: bool = False
    projected: bool = False


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


@dataclass
class _Pass:
    """What one block has seen in the current forward pass, in the network's own layout."""

    pre: torch.Tensor | None = None
    write: torch.Tensor | None = None
    skip: torch.Tensor | None = None
    sum: torch.Tensor | None = None


@dataclass
class _BlockHooks:
    """The hooks of one block: they hand its sites to the taps and put back what the taps return."""

    block: BlockMap
    index: int
    to_tokens: Callable[[torch.Tensor], torch.Tensor]
    from_tokens: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    taps: dict[str, Tap]
    seen: Callable[[str], None]
    now: _Pass = field(default_factory=_Pass)

    def wants(self, *kinds: Kind) -> bool:
        return any(kind in self.taps for kind in kinds)

    def offer(self, kind: Kind, value: torch.Tensor) -> torch.Tensor:
        """Hand `value` to the tap of this kind; the value that the network goes on with."""
        tap = self.taps.get(kind)
        if tap is None:
            return value
        changed = tap(self.to_tokens(value))
        self.seen(kind)
        return value if changed is None else self.from_tokens(changed, value)

    # Each method below is a hook on one module; it returns the module's new output, or None to leave it alone.

    def on_input(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.now = _Pass()
        key = None if args else next(iter(kwargs))
        old = first_tensor(args[0] if args else kwargs[key])
        self.now.pre = new = self.offer("resid_pre", old)
        if new is old:
            return None
        return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, key: new})

    def on_write(self, module: Any, args: Any, output: Any) -> Any:
        old = first_tensor(output)
        # The network may add in place into its write: keep our own copy when it is needed later.
        self.now.write = new = self.offer("write", old)
        if self.block.skip is not None and self.now.skip is None:
            if self.wants("skip", "resid_post_preact"):
                self.now.write = new.clone()
            return _replaced(output, new, old)
        passed_on = self.now.pre if self.block.skip is None else self.now.skip
        assert passed_on is not None
        if self.block.skip is None:
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
        write, skip = self.now.write, self.now.skip
        assert write is not None and skip is not None
        total = write + skip
        wanted = self.offer("resid_post_preact", total)
        changed = wanted is not total or (skip is not other and branch is not skip)
        return wanted - other if changed else branch

    def on_attn(self, module: Any, args: Any, output: Any) -> Any:
        old = first_tensor(output)
        new = self.offer("attn_out", old)
        if self.wants("resid_mid"):
            pre = self.now.pre
            assert pre is not None
            middle = pre + new
            wanted = self.offer("resid_mid", middle)
            new = new if wanted is middle else wanted - pre
        return _replaced(output, new, old)

    def on_mlp(self, module: Any, args: Any, output: Any) -> Any:
        old = first_tensor(output)
        return _replaced(output, self.offer("mlp_out", old), old)

    def on_output(self, module: Any, args: Any, output: Any) -> Any:
        old = new = first_tensor(output)
        pre = self.now.pre
        assert pre is not None
        if self.block.write is None and self.wants("write", "skip"):
            passed_on = pre.new_zeros(()).expand_as(old) if self.block.plain else pre
            added = old if self.block.plain else old - passed_on
            write, skip = self.offer("write", added), self.offer("skip", passed_on)
            if write is not added or skip is not passed_on:
                new = write + skip
        new = self.offer("resid_post", new)
        if self.wants("delta"):
            self.offer("delta", new - pre)
        self.now = _Pass()
        return _replaced(output, new, old)


def _replaced(output: Any, new: torch.Tensor, old: torch.Tensor) -> Any:
    if new is old:
        return None
    return (new, *output[1:]) if isinstance(output, tuple) else new


@contextmanager
def tapped(backbone: Backbone, taps: Mapping[str, Tap], *, stop: bool = False) -> Iterator[None]:
    """Within this context, every forward pass of `backbone.module` hands the named sites to their taps.

    A tap gets [batch, tokens, d] and returns None, or what shall stand there instead (same shape). The tensor that
    it gets may be overwritten by the network later: a tap that keeps it must copy it. With `stop`, a pass ends by a
    private exception after the last tap (use `run` to call the network). The hooks come off again in every case.

    Raises ConfigError for a name that this network does not have.
    """
    for name in taps:
        if name not in backbone.sites:
            raise ConfigError(f"{backbone.name} has no site {name!r}; {did_you_mean(name, backbone.sites)}.")
    per_block: dict[int, dict[str, Tap]] = {}
    for name, tap in taps.items():
        index, kind = split_name(name)
        per_block.setdefault(index, {})[kind] = tap
    waiting: set[str] = set()

    def seen(name: str) -> None:
        waiting.discard(name)
        if stop and not waiting:
            raise _Stop

    handles: list[Any] = []
    modules = dict(backbone.module.named_modules())
    try:
        if taps:
            # A pass that was cut short leaves nothing behind: what is waited for is set anew at its start.
            handles.append(
                backbone.module.register_forward_pre_hook(lambda *_: waiting.update(taps) or None, prepend=True)
            )
        for index, mine in per_block.items():
            block = backbone.blocks[index]
            hooks = _BlockHooks(
                block,
                index,
                backbone.to_tokens,
                backbone.from_tokens,
                mine,
                seen=lambda kind, index=index: seen(f"blocks.{index}.hook_{kind}"),  # type: ignore[misc]
            )
            handles.append(modules[block.module].register_forward_pre_hook(hooks.on_input, with_kwargs=True))
            if hooks.wants("write", "skip", "resid_post_preact"):
                if block.write is not None:
                    handles.append(modules[block.write].register_forward_hook(hooks.on_write))
                if block.skip is not None:
                    handles.append(modules[block.skip].register_forward_hook(hooks.on_skip))
            if block.attn is not None and hooks.wants("attn_out", "resid_mid"):
                handles.append(modules[block.attn].register_forward_hook(hooks.on_attn))
            if block.mlp is not None and hooks.wants("mlp_out"):
                handles.append(modules[block.mlp].register_forward_hook(hooks.on_mlp))
            handles.append(modules[block.module].register_forward_hook(hooks.on_output))
        yield
    finally:
        for handle in handles:
            handle.remove()


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
