"""Where tokens come from: every one exactly once an epoch, aligned across sites, from any batch on, none held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from bridge.activations import Activations, capture
from bridge.errors import ConfigError, InputError
from bridge.models.base import Backbone, Preprocessing
from bridge.stimuli.stimulus_set import ArraySource, StimulusSet
from bridge.streams import BlockMap
from bridge.tokens import sampled_positions
from saes.settings import Training
from saes.sources import ArrayTokens, HookTokens, ShardTokens, divided, hash_of, is_held_out
from saes.training import Job, train

EARLY, LATE, SMALL = (f"blocks.{block}.hook_resid_post" for block in range(3))
IDS = [f"s{number:03d}" for number in range(40)]


class Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, stride, 1)
        self.skip = nn.Identity() if before == after else nn.Conv2d(before, after, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.conv(x) + self.skip(x)).relu()


class Net(nn.Module):
    """[batch, 3, 8, 8] -> 4 channels of 8 x 8 -> 6 of 8 x 8 -> 6 of 4 x 4."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 1, 1)
        self.blocks = nn.Sequential(Block(4, 4), Block(4, 6), Block(6, 6, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(self.stem(x))


@pytest.fixture(scope="module")
def net() -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Net().eval()
        module.blocks[2].skip = nn.Conv2d(6, 6, 1, 2)
    maps = [
        BlockMap(f"blocks.{i}", 1 + i, write=f"blocks.{i}.conv", skip=f"blocks.{i}.skip", act=True, projected=i > 0)
        for i in range(3)
    ]
    return Backbone("net", module, maps, Preprocessing(size=8, squash=True))


@pytest.fixture(scope="module")
def stimuli() -> StimulusSet:
    images = np.random.default_rng(0).integers(0, 256, (len(IDS), 8, 8, 3), dtype=np.uint8)
    return StimulusSet("noise", pd.DataFrame(index=pd.Index(IDS, name="stimulus_id")), ArraySource(images))


@pytest.fixture(scope="module")
def shards(net: Backbone, stimuli: StimulusSet, tmp_path_factory: pytest.TempPathFactory) -> Activations:
    """5 patches of every stimulus at two sites of one grid and one of another, in several shards."""
    folder = tmp_path_factory.mktemp("shards")
    return capture(net, stimuli, [EARLY, LATE, SMALL], folder, tokens=5, seed=2, batch_size=8, shard_bytes=3000)


def rows(batches: Sequence[dict[str, torch.Tensor]], site: str) -> Counter[bytes]:
    return Counter(row.tobytes() for batch in batches for row in batch[site].numpy())


def all_sources(net: Backbone, stimuli: StimulusSet, shards: Activations) -> dict[str, Any]:
    """Every kind, over the first 30 stimuli: 150 tokens of EARLY and LATE."""
    ids = IDS[:30]
    arrays = {site: torch.from_numpy(shards.read(site, ids)).flatten(0, 1) for site in (EARLY, LATE)}
    return {
        "shards": ShardTokens(shards, [EARLY, LATE], ids, reservoir=64),
        "hooks": HookTokens(net, stimuli, [EARLY, LATE], ids=ids, patches=5, reservoir=64, images=7, workers=0),
        "arrays": ArrayTokens(arrays),
    }


KINDS = ("shards", "hooks", "arrays")


@pytest.fixture
def source(request: pytest.FixtureRequest, net: Backbone, stimuli: StimulusSet, shards: Activations) -> Any:
    return all_sources(net, stimuli, shards)[request.param]


# --------------------------------------------------------------------------------------------------- what all promise


@pytest.mark.parametrize("source", KINDS, indirect=True)
@pytest.mark.parametrize("batch", [1, 16, 50, 64, 150, 151])
def test_every_token_once_an_epoch_and_sizes(source: Any, batch: int) -> None:
    assert source.tokens == 150
    assert source.widths == {EARLY: 4, LATE: 6}
    batches = list(source.batches(batch, 7))
    sizes = [len(one[EARLY]) for one in batches]
    assert sizes[:-1] == [batch] * (len(sizes) - 1)
    assert sum(sizes) == 150
    assert len(sizes) == -(-150 // batch)
    assert all(one[site].dtype == torch.float32 for one in batches for site in one)
    assert rows(batches, LATE) == rows(list(source.batches(33, 7)), LATE)


@pytest.mark.parametrize("source", KINDS, indirect=True)
def test_any_batch_can_be_started_from(source: Any) -> None:
    whole = list(source.batches(16, 3, 2))
    for start in range(len(whole) + 1):
        rest = list(source.batches(16, 3, 2, start))
        assert len(rest) == len(whole) - start
        for one, other in zip(rest, whole[start:], strict=True):
            assert torch.equal(one[EARLY], other[EARLY])
            assert torch.equal(one[LATE], other[LATE])


@pytest.mark.parametrize("source", KINDS, indirect=True)
def test_order_depends_on_seed_and_epoch_alone(source: Any) -> None:
    first = next(iter(source.batches(40, 3, 1)))[EARLY]
    assert torch.equal(first, next(iter(source.batches(40, 3, 1)))[EARLY])
    for seed, epoch in ((4, 1), (3, 2)):
        assert not torch.equal(first, next(iter(source.batches(40, seed, epoch)))[EARLY])


@pytest.mark.parametrize("source", KINDS, indirect=True)
def test_batches_belong_to_the_caller(source: Any) -> None:
    """Training scales them in place; what comes after must not change."""
    untouched = [batch[LATE].clone() for batch in source.batches(16, 0)]
    for expected, batch in zip(untouched, source.batches(16, 0), strict=True):
        assert torch.equal(batch[LATE], expected)
        for value in batch.values():
            value.fill_(float("nan"))
    assert all(torch.isfinite(batch[LATE]).all() for batch in source.batches(16, 0))


@pytest.mark.parametrize("source", KINDS, indirect=True)
def test_rows_of_sites_of_one_grid_are_the_same_token(source: Any, net: Backbone) -> None:
    """LATE is computed from EARLY's whole image, so a token's place shows in pairs that also the capture holds."""
    assert len(set(source.places.values())) == 1
    batches = list(source.batches(16, 1))
    pairs = {
        (e.tobytes(), b.tobytes())
        for one in batches
        for e, b in zip(one[EARLY].numpy(), one[LATE].numpy(), strict=True)
    }
    again = list(source.batches(31, 1))
    assert pairs == {
        (e.tobytes(), b.tobytes()) for one in again for e, b in zip(one[EARLY].numpy(), one[LATE].numpy(), strict=True)
    }


# ------------------------------------------------------------------------------------------------------------ shards


def test_shards_hand_out_what_was_captured(shards: Activations) -> None:
    ids = IDS[3:31:2]
    source = ShardTokens(shards, [EARLY, LATE], ids, reservoir=50)
    assert len(shards.manifest["shards"]) > 3
    for epoch in (0, 1):
        batches = list(source.batches(16, 0, epoch))
        for site in (EARLY, LATE):
            expected = shards.read(site, ids).reshape(-1, shards.sites[site].width)
            assert rows(batches, site) == Counter(row.tobytes() for row in expected)
        early, late = (torch.cat([one[site] for one in batches]).numpy() for site in (EARLY, LATE))
        stored = (shards.read(site, ids).reshape(-1, width) for site, width in ((EARLY, 4), (LATE, 6)))
        captured = {(e.tobytes(), b.tobytes()) for e, b in zip(*stored, strict=True)}
        assert {(e.tobytes(), b.tobytes()) for e, b in zip(early, late, strict=True)} == captured


def test_an_id_that_is_given_twice_counts_once(shards: Activations) -> None:
    source = ShardTokens(shards, [EARLY], [*IDS[:4], IDS[0]])
    assert source.tokens == 20
    assert sum(len(one[EARLY]) for one in source.batches(7, 0)) == 20
    train([Job("a", (EARLY,), Training(architecture={"kind": "topk", "latents": 8}, batch=7, epochs=2))], source)


def test_sites_of_other_grids_are_told_apart(shards: Activations) -> None:
    source = ShardTokens(shards, [EARLY, LATE, SMALL])
    assert source.places == {EARLY: 64, LATE: 64, SMALL: 16}
    training = Training(architecture={"kind": "relu", "latents": 8}, batch=64, epochs=1)
    assert len(train([Job(site, (site,), training) for site in source.widths], source)) == 3
    with pytest.raises(ConfigError, match="different places"):
        train([Job("joint", (EARLY, SMALL), training)], source)


def test_means_of_stimuli_are_at_one_place(net: Backbone, stimuli: StimulusSet, tmp_path: Path) -> None:
    source = ShardTokens(capture(net, stimuli, [EARLY, SMALL], tmp_path, tokens="mean"), [EARLY, SMALL])
    assert source.places == {EARLY: 0, SMALL: 0}
    assert source.tokens == len(IDS)


def test_shards_that_cannot_serve(shards: Activations, net: Backbone, stimuli: StimulusSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hold no token to train on; capture some stimuli"):
        ShardTokens(shards, [EARLY], [])
    with pytest.raises(ConfigError, match="did you mean"):
        ShardTokens(shards, [EARLY[:-1]])
    with pytest.raises(InputError, match="1 of 2 stimulus ids are not among the activations"):
        ShardTokens(shards, [EARLY], ["s001", "other"]).tokens  # noqa: B018
    uneven = capture(net, stimuli, [EARLY, SMALL], tmp_path, tokens="patches")
    with pytest.raises(ConfigError, match=r"hold 16, 64 tokens a stimulus; capture the same number of patches"):
        ShardTokens(uneven, [EARLY, SMALL])


def test_a_damaged_shard_loses_no_training(shards: Activations, tmp_path: Path) -> None:
    """A truncated shard is named; what was trained before it stays in the checkpoint."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in shards.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    last = sorted(folder.glob("*.safetensors"))[-1]
    content = last.read_bytes()
    job = Job("a", (EARLY,), Training(architecture={"kind": "topk", "latents": 8}, batch=20, epochs=3, sample=20))
    whole = train([job], ShardTokens(Activations(folder), [EARLY], reservoir=40))["a"].sae

    class Cut(Exception):
        pass

    def cut(report: Any) -> None:
        if report.step == 6:
            last.write_bytes(content[: len(content) // 2])

    with pytest.raises(InputError, match=last.name):
        train(
            [job],
            ShardTokens(Activations(folder), [EARLY], reservoir=40),
            folder=tmp_path / "run",
            checkpoint_seconds=0,
            progress=cut,
        )
    last.write_bytes(content)
    steps: list[int] = []
    resumed = train(
        [job], ShardTokens(Activations(folder), [EARLY], reservoir=40), folder=tmp_path / "run",
        progress=lambda report: steps.append(report.step),
    )["a"].sae  # fmt: skip
    assert steps[0] > 6
    assert torch.equal(resumed.W_enc, whole.W_enc)


# ------------------------------------------------------------------------------------------------------------- hooks


def test_hooks_give_the_values_of_a_capture(net: Backbone, stimuli: StimulusSet, tmp_path: Path) -> None:
    """The same patches, drawn with the epoch's seed, have the values that a capture stores."""
    source = HookTokens(net, stimuli, [EARLY, LATE], patches=6, reservoir=100, images=9, workers=0)
    every = capture(net, stimuli, [EARLY, LATE], tmp_path, tokens="patches")
    drawn = {}
    for epoch in (0, 1):
        batches = list(source.batches(32, 5, epoch))
        place = [sampled_positions(name, 64, 6, hash_of(5, epoch)) for name in IDS]
        drawn[epoch] = place
        for site in (EARLY, LATE):
            expected = np.concatenate([value[at] for value, at in zip(every.read(site), place, strict=True)])
            found = torch.cat([one[site] for one in batches]).numpy()
            order, theirs = np.lexsort(found.T.round(4)), np.lexsort(expected.T.round(4))
            np.testing.assert_allclose(found[order], expected[theirs], atol=1e-4)
    assert any((a != b).any() for a, b in zip(drawn[0], drawn[1], strict=True))


def test_hooks_do_not_read_what_is_skipped(
    net: Backbone, stimuli: StimulusSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = HookTokens(net, stimuli, [EARLY], patches=5, reservoir=50, workers=0)  # 10 stimuli at a time
    asked: list[int] = []
    read = source._read
    monkeypatch.setattr(source, "_read", lambda ids, seed, epoch: (asked.append(len(ids)), read(ids, seed, epoch))[1])
    list(source.batches(50, 0, 0, 3))
    assert asked == [10]


def test_hooks_that_cannot_serve(net: Backbone, stimuli: StimulusSet) -> None:
    with pytest.raises(ConfigError, match=r"No site matches .blocks\.9"):
        HookTokens(net, stimuli, ["blocks.9.hook_resid_post"])
    with pytest.raises(InputError, match="no stimulus to train on"):
        HookTokens(net, stimuli, [EARLY], ids=[])
    with pytest.raises(ConfigError, match=r"The sites have 16, 64 tokens a stimulus; state a number of patches"):
        HookTokens(net, stimuli, [EARLY, SMALL], patches=None)
    assert HookTokens(net, stimuli, [EARLY, SMALL], patches=99).patches == 16
    assert HookTokens(net, stimuli, [EARLY], patches=None).tokens == 64 * len(IDS)


def test_a_killed_training_from_hooks_goes_on(net: Backbone, stimuli: StimulusSet, tmp_path: Path) -> None:
    job = Job("a", (EARLY,), Training(architecture={"kind": "topk", "latents": 8}, batch=30, epochs=3, sample=50))

    def source() -> HookTokens:
        return HookTokens(net, stimuli, [EARLY], patches=5, reservoir=64, workers=0)

    class Killed(Exception):
        pass

    def killed(report: Any) -> None:
        if report.step == 11:
            raise Killed

    whole = train([job], source())["a"].sae
    with pytest.raises(Killed):
        train([job], source(), folder=tmp_path, checkpoint_seconds=0, progress=killed)
    resumed = train([job], source(), folder=tmp_path)["a"].sae
    for name, value in whole.tensors().items():
        assert torch.equal(value, resumed.tensors()[name]), name


# ------------------------------------------------------------------------------------------------------------- arrays


def test_arrays_that_cannot_serve() -> None:
    for shapes in ([(3, 4), (2, 4)], [(3, 4, 5)], [(0, 4)]):
        with pytest.raises(InputError, match=r"give \[n, d\] with the same n > 0 at every site"):
            ArrayTokens({str(number): torch.zeros(shape) for number, shape in enumerate(shapes)})


# ----------------------------------------------------------------------------------------------------------- held out


def test_held_out_stimuli_never_appear(shards: Activations) -> None:
    kept, held = divided(IDS, 0.5)
    assert sorted(kept + held) == IDS
    assert len(held) > 5
    source = ShardTokens(shards, [LATE], kept)
    seen = rows([one for epoch in range(3) for one in source.batches(16, epoch, epoch)], LATE)
    hidden = Counter(row.tobytes() for row in shards.read(LATE, held).reshape(-1, 6))
    everything = Counter(row.tobytes() for row in shards.read(LATE).reshape(-1, 6))
    assert not {row for row in hidden if everything[row] == hidden[row]} & set(seen)


def test_who_is_held_out_depends_on_the_id_alone() -> None:
    whole = set(divided(IDS, 0.3)[1])
    assert set(divided(IDS[::-1][:20], 0.3)[1]) == whole & set(IDS[::-1][:20])
    assert set(divided(IDS, 0.1)[1]) <= whole
    share = np.mean([is_held_out(f"image {number}", 0.2) for number in range(5000)])
    assert abs(share - 0.2) < 0.02


def test_few_stimuli_and_none() -> None:
    assert divided(IDS, 0.0) == (IDS, [])
    unlucky = [name for name in IDS if not is_held_out(name, 0.05)][:3]
    assert divided(unlucky, 0.05) == (unlucky[:2], unlucky[2:])
    assert divided(unlucky[:1], 0.05) == (unlucky[:1], [])
    all_held = [name for name in (f"t{n}" for n in range(100)) if is_held_out(name, 0.5)]
    with pytest.raises(InputError, match=r"with 50% held out leave none to train on; give more stimuli"):
        divided(all_held, 0.5)
