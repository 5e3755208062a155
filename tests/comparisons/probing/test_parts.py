"""The parts of `kind: probe`, each against what was planted or what another way computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from bridge.models import load
from bridge.models.base import Backbone, Preprocessing
from bridge.stimuli.battery import Battery
from bridge.streams import BlockMap, Site, read
from comparisons import characterise
from comparisons.characterise import Field, Latents, present, units
from comparisons.lineage import Lineages, Place
from comparisons.noise import grain_of, present_noise
from comparisons.probing import Chosen, Found
from comparisons.probing.cards import chosen_features
from comparisons.probing.decoding import FROM_GRATINGS, FROM_OBJECTS, FROM_SHAPES, QUESTIONS, decode
from comparisons.probing.fields import drawn_features, fields
from comparisons.probing.geometry import matched_dimensions, objects
from comparisons.probing.places import Reading, places_of, present_places
from comparisons.probing.transfer import by_basis, transfer


def site(name: str = "blocks.0.hook_resid_post", grid: tuple[int, int] | None = (8, 8), basis: str = "b") -> Site:
    tokens = grid[0] * grid[1] if grid else 1
    return Site(name, "resid_post", 0, 0, 0.5, 4, tokens, grid, 0, basis)


def found() -> Found:
    return Found({"comparison": "probe", "model": "net", "role": "trained", "n_subjects": 1})


def said(one: Found, measure: str) -> dict[tuple[str, str], float]:
    """Estimates of a measure by (what, how it was read)."""
    return {(r["region"], r["recordings"]): r["estimate"] for r in one.results if r["measure"] == measure}


# ------------------------------------------------------------------------------------------------ whole images


def test_places_are_means_over_their_part_of_the_grid() -> None:
    net = load({"kind": "demo", "name": "net", "network": "residual"})
    last = net.sites["blocks.5.hook_resid_post"]
    stimuli = Battery(name="few", families=("shapes",), limit={"shapes": 5}, size=64).load()
    doubled = lambda x: Latents(x, 2 * x)  # noqa: E731
    values = present_places(net, stimuli, {"u": Reading(last, units), "d": Reading(last, doubled)}, batch=2)
    tokens = read(net, net.prepare([stimuli.image(row) for row in range(5)]), [last.name])[last.name]
    rows, columns = places_of(last)
    grid = tokens.unflatten(1, last.grid)  # type: ignore[arg-type]
    step = last.grid[0] // rows  # type: ignore[index]
    expected = torch.stack([
        grid[:, r * step : (r + 1) * step, c * step : (c + 1) * step].mean((1, 2))
        for r in range(rows) for c in range(columns)
    ], dim=1)  # fmt: skip
    np.testing.assert_allclose(values["u"], expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(values["d"], 2 * expected.numpy(), atol=1e-5)
    assert places_of(site(grid=None)) == (1, 1)
    assert places_of(site(grid=(2, 2))) == (2, 2)


def test_position_and_identity_are_decoded_where_they_were_planted() -> None:
    """Features that carry an object's place and category in a code of their own, and nothing of its size."""
    table = Battery(name="objects", families=("scenes",), size=64).load().table
    rng = np.random.default_rng(0)
    categories = np.unique(table["category"], return_inverse=True)[1]
    axes = 8 * np.linalg.qr(rng.standard_normal((60, 10)))[0].T
    x = np.column_stack([table["x"], table["y"], np.eye(8)[categories]]) @ axes
    x += 0.1 * rng.standard_normal(x.shape)
    one = found()
    decode(one, Chosen("s", site()), table, x, "planted", (FROM_OBJECTS,), 0)
    r2 = said(one, FROM_OBJECTS)
    assert min(r2["x, other categories", "planted"], r2["y, other categories", "planted"]) > 0.9
    assert r2["category, other exemplars", "planted"] > 0.9
    assert abs(r2["size, other categories", "planted"]) < 0.2
    assert all("95% of label permutations" in r["notes"][1] for r in one.results)


def test_every_question_can_be_asked_of_its_stimuli() -> None:
    """Conditions are three or more, and the variable varies within the stimuli left for training."""
    families = ("gratings", "contrasts", "gabors", "edges", "shapes", "scenes")
    table = Battery(name="all", families=families, size=64).load().table
    table = table.assign(quadrant=np.floor(table["phase"].to_numpy(float) / 90))
    for question in QUESTIONS:
        part = table.iloc[question.rows(table)]
        assert len(np.unique(question.conditions(part))) >= 3, question
        for column in question.targets.values():
            assert part[column].nunique() > 1
    assert {question.measure for question in QUESTIONS} >= {FROM_GRATINGS, FROM_SHAPES, FROM_OBJECTS}


def test_objects_that_lie_apart_have_a_larger_capacity() -> None:
    table = Battery(name="objects", families=("scenes",), size=64, exemplars=2, images_per_exemplar=10).load().table
    rng = np.random.default_rng(1)
    _, codes = np.unique([f"{c} {e}" for c, e in zip(table["category"], table["exemplar"], strict=True)],
                         return_inverse=True)  # fmt: skip
    centres = rng.standard_normal((codes.max() + 1, 60))
    tight, loose = (found() for _ in range(2))
    for one, spread in ((tight, 0.05), (loose, 1.5)):
        x = centres[codes] + spread * rng.standard_normal((len(codes), 60))
        objects(one, Chosen("s", site()), table, x, "planted", 0)
    assert said(tight, "manifold capacity")["features", "planted"] > 1.5
    assert said(loose, "manifold capacity")["features", "planted"] < 1
    radius = [said(one, "manifold radius, median")["features", "planted"] for one in (tight, loose)]
    assert radius[0] < 0.3 < radius[1]
    dead = found()
    objects(dead, Chosen("s", site()), table, np.full((len(codes), 3), np.nan), "planted", 0)
    assert not dead.results
    assert "no manifolds" in dead.dropped[0]


def test_matched_dimensions_take_the_width_away() -> None:
    """The same five-dimensional signal in 8 and in 60 units: unmatched ratios may differ, matched ones say 8 units."""
    rng = np.random.default_rng(2)
    z = rng.standard_normal((200, 5))
    streams = [(Chosen(f"s{d}", site()), z @ rng.standard_normal((5, d))) for d in (8, 60)]
    one = found()
    matched_dimensions(one, streams, 0)
    ratios = [r["estimate"] for r in one.results if r["measure"] == "participation ratio, matched"]
    assert len(ratios) == 2
    assert all(1 < value <= 5 for value in ratios)
    assert all("8 of " in r["notes"][0] for r in one.results)
    alone = found()
    matched_dimensions(alone, streams[:1], 0)
    assert not alone.results


# --------------------------------------------------------------------------------------------- probes carried along


def test_transfer_runs_within_a_basis_and_is_drawn() -> None:
    table = Battery(name="gratings", families=("gratings",), size=64).load().table
    angle = 2 * np.deg2rad(table["orientation"].to_numpy(float))
    rng = np.random.default_rng(3)
    code = np.column_stack([np.cos(angle), np.sin(angle)]) @ rng.standard_normal((2, 20))
    first = code + 0.1 * rng.standard_normal((720, 20))
    turned = code @ np.linalg.qr(rng.standard_normal((20, 20)))[0]
    names = ("blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post")
    chosen = [Chosen(name, site(name)) for name in names] + [
        Chosen("blocks.2.hook_resid_post", site("blocks.2.hook_resid_post", basis="c"))
    ]
    assert [len(group) for group in by_basis(chosen)] == [3]
    values = {names[0]: first, names[1]: 3 * first, names[2]: turned, chosen[3].name: first}
    one = found()
    transfer(one, chosen, table, values, normalise=True)
    matrix = np.array(one.curves["transfer"][0]["matrix"])
    assert one.curves["transfer"][0]["target"] == "orientation"
    assert matrix[0, 0] > 0.9
    assert matrix[0, 1] == pytest.approx(matrix[0, 0], abs=1e-6), "norms do not count"
    assert matrix[0, 2] < 0.5
    assert one.exhibits[0].file in one.pictures
    assert one.pictures[one.exhibits[0].file][:4] == b"\x89PNG"
    plain = found()
    transfer(plain, chosen, table, values, normalise=False)
    assert plain.curves["transfer"][0]["matrix"][0][1] < matrix[0, 1]


# ------------------------------------------------------------------------------------------------------ lineages


def test_a_feature_is_born_kept_and_lost() -> None:
    """Unit 0 runs from the second site to the third, unit 1 along all of them; the others are each site's own."""
    rng = np.random.default_rng(4)
    lasting, passing = rng.standard_normal((2, 300))
    places = []
    for number in range(4):
        x = rng.standard_normal((300, 12))
        x[:, 1] = lasting + 0.2 * rng.standard_normal(300)
        if number in (1, 2):
            x[:, 0] = passing + 0.2 * rng.standard_normal(300)
        x[:, 11] = np.nan if number == 2 else 0
        places.append(Place(f"s{number}", number / 3, x))
    lines = Lineages(places[::-1])
    kept, brief = lines.history("s2", 1), lines.history("s2", 0)
    assert kept is not None
    assert brief is not None
    assert kept.matched.all()
    assert (kept.born, kept.lost, kept.last) == (0, None, 1)
    assert brief.matched.tolist() == [False, True, True, False]
    assert (brief.born, brief.lost) == (pytest.approx(1 / 3), 1)
    assert brief.told() == "from 0.33, lost at 1.00"
    assert lines.history("s2", 11) is None
    assert kept.r[2] == 1
    assert 0 < kept.chance < 0.5


# ------------------------------------------------------------------------------------------- receptive fields


class Cells(nn.Module):
    """A planted simple cell and an energy cell in a stream of two units at 16 x 16 places of 32 x 32 images."""

    def __init__(self) -> None:
        super().__init__()
        axis = torch.arange(9) - 4.0
        y, x = -axis[:, None], axis[None, :]
        envelope = torch.exp(-(x**2 + y**2) / (2 * 1.8**2))
        turn = 2 * np.pi * 0.2 * (y * np.cos(np.pi / 4) - x * np.sin(np.pi / 4))
        pair = torch.stack([envelope * torch.cos(turn), envelope * torch.sin(turn)])
        self.pair = nn.Conv2d(3, 2, 9, 2, 4, bias=False)
        self.pair.weight.data = (pair - pair.mean((1, 2), keepdim=True))[:, None].repeat(1, 3, 1, 1)
        self.block = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.pair(x)
        both = torch.stack([out[:, 0].relu(), (out**2).sum(1)], dim=1)
        return self.block(both)


def test_planted_fields_come_back_from_noise() -> None:
    same = Preprocessing(32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    net = Backbone("cells", Cells().eval(), [BlockMap("block", stage=1, plain=True)], same)
    name = "blocks.0.hook_resid_post"
    place = Site(name, "resid_post", 0, 0, 1.0, 2, 256, (16, 16), 0, "b")
    extent = {name: Field(np.zeros((32, 32)), 9.0)}
    (noise,) = present_noise(net, {name: place}, extent, 3000)
    assert noise.grain == 1
    one = found()
    shown = fields(one, Chosen(name, place), noise, noise.values[name], np.arange(2), 32, 9.0)
    get = lambda column: one.arrays[f"{name}|{column}"]  # noqa: E731
    assert abs(get("gabor_orientation")[0] - 45) < 5
    assert get("gabor_frequency")[0] == pytest.approx(0.2 * 32, rel=0.1)
    assert get("gabor_held_out")[0] > 0.9
    assert get("noise_reliability")[1] < 0.3
    assert get("energy_r")[1] > 0.8 > 0.5 > abs(get("linear_r")[1])
    assert get("rectified_r")[0] > get("energy_r")[0]
    assert abs(get("energy_orientation")[1] - 45) < 5
    assert said(one, "share best predicted by an energy model")["features", "noise"] == 0.5
    assert shown[0].fitted is not None


def test_noise_is_as_coarse_as_the_field() -> None:
    assert [grain_of(side) for side in (3, 12, 13, 24, 25, 100, 224)] == [1, 1, 2, 2, 4, 16, 32]
    features = drawn_features(500, np.array([3, 499]), 0)
    assert len(features) == 128
    assert {3, 499} <= set(features.tolist())
    np.testing.assert_array_equal(drawn_features(5, np.array([1]), 0), np.arange(5))


def test_features_of_cards_run_from_simple_to_complex() -> None:
    one = found()
    one.arrays["s|simplicity"] = np.array([0.2, np.nan, 0.9, -0.1, 0.5])
    chosen = Chosen("s", site())
    assert chosen_features(one, chosen, 3) == [2, 0, 3] or chosen_features(one, chosen, 3) == [2, 4, 3]
    assert chosen_features(one, chosen, 12) == [2, 4, 0, 3]
    assert chosen_features(one, chosen, 0) == []
    assert chosen_features(found(), chosen, 3) == []


# --------------------------------------------------------------------------------------------------- patch grids


VITS: dict[str, dict[str, Any]] = {
    "demo": {"kind": "demo", "name": "vit", "network": "vit"},
    "demo untrained": {"kind": "demo", "name": "vit", "network": "vit", "untrained": True},
    "timm": {
        "kind": "timm", "name": "vit", "architecture": "vit_tiny_patch16_224", "untrained": True,
        "options": {"depth": 2, "img_size": 128},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", VITS)
def test_jitter_within_a_patch_undoes_the_phase_artefact(name: str) -> None:
    """Where patterns stand still, the token's response is locked to the phase of all gratings; with a displacement of
    up to half a patch no more than by chance."""
    net = load(VITS[name])
    assert net.preprocessing is not None
    stem = net.sites["blocks.0.hook_resid_pre"]
    assert stem.grid is not None
    patch = net.preprocessing.size // stem.grid[0]
    locked = []
    for jitter in (0, patch // 2):
        stimuli = characterise.tuning_battery(net.preprocessing, jitter).load()
        stimuli = stimuli.select(np.flatnonzero((stimuli.table["family"] == "gratings").to_numpy()))
        values = present(net, stimuli, {stem.name: np.array([characterise.centre_token(stem)])})
        share, chance = characterise.phase_locking(stimuli.table, values[stem.name][:, 0])
        locked.append(share)
    assert locked[0] > 2 * chance
    assert locked[1] < 1.5 * chance
    assert locked[1] < locked[0] / 2


def test_phase_locking_of_what_does_not_vary() -> None:
    table = pd.DataFrame({"family": ["gratings"] * 8, "phase": [0.0, 90, 180, 270] * 2})
    assert np.isnan(characterise.phase_locking(table, np.ones((8, 3)))[0])
    energy = np.array([[1.0], [3], [1], [3], [-1], [-3], [-1], [-3]])
    assert characterise.phase_locking(table, energy) == (pytest.approx(1), pytest.approx(3 / 7))
