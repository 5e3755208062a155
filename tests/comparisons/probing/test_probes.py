"""Characterising networks: what is presented, what windows are cut, and `kind: probe` through the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from bridge.errors import ConfigError
from bridge.models import load
from bridge.models.base import Backbone, Preprocessing
from bridge.streams import Site, read
from comparisons import characterise
from comparisons.characterise import Latents, centre_token, effective_fields, present, tune, window_side, windows
from comparisons.config import parse
from comparisons.kinds.probe import ProbeComparison
from comparisons.probing import probe_model


@pytest.fixture(scope="module")
def net() -> Backbone:
    return load({"kind": "demo", "name": "net", "network": "residual"})


def site(grid: tuple[int, int] | None, prefix: int = 0) -> Site:
    tokens = prefix + (grid[0] * grid[1] if grid else 1)
    return Site("blocks.0.hook_resid_post", "resid_post", 0, 0, 1.0, 4, tokens, grid, prefix, "b")


def test_the_middle_token() -> None:
    assert centre_token(site((8, 8))) == 4 * 8 + 4
    assert centre_token(site((7, 7), prefix=1)) == 1 + 3 * 7 + 3
    assert centre_token(site(None)) == 0


def test_present_reads_the_tokens_asked_for(net: Backbone) -> None:
    stimuli = characterise.tuning_battery(net.preprocessing).load().select(range(10))  # type: ignore[arg-type]
    name = list(net.sites)[-1]
    own = np.stack([np.arange(3) + row for row in range(10)])
    values = present(net, stimuli, {name: own}, batch=4)[name]
    whole = read(net, net.prepare([stimuli.image(row) for row in range(10)]), [name])[name].numpy()
    np.testing.assert_allclose(values, np.stack([whole[row, own[row]] for row in range(10)]), atol=1e-5)


def test_windows_show_what_the_token_sees() -> None:
    """A bright pixel under each token is in the middle of its window, also at the border of the image."""
    greys = np.full((4, 32, 32), 0.5, np.float32)
    cut = windows(greys, site((8, 8)), 12, places=3)
    assert cut.images.shape == (12, 12, 12)
    assert cut.tokens.shape == (4, 3)
    for image in range(4):
        for place in range(3):
            row, column = divmod(int(cut.tokens[image, place]), 8)
            marked = greys.copy()
            marked[image, row * 4 + 1 : row * 4 + 3, column * 4 + 1 : column * 4 + 3] = 1
            window = windows(marked, site((8, 8)), 12, places=3).images[image * 3 + place]
            assert window[5:7, 5:7].mean() == 1
    np.testing.assert_array_equal(cut.groups, np.repeat(np.arange(4), 3))
    wide = windows(greys, site((8, 8)), 32, places=4)
    assert sorted(wide.tokens[0]) == [27, 28, 35, 36], "where windows fill the image, the tokens next to the middle"
    assert windows(np.zeros((2, 224, 224), np.float32), site((14, 14)), 100, 2).images.shape == (4, 32, 32)


def test_window_sides_are_few_and_wide_enough() -> None:
    sides = {window_side(field, 224) for field in np.linspace(1, 224, 300)}
    assert len(sides) < 13
    assert max(sides) == 224
    assert min(sides) == 8
    assert all(window_side(field, 224) >= min(field, 224) for field in np.linspace(8, 224, 50))


def test_fields_grow_with_depth_and_are_those_of_the_convolutions(net: Backbone) -> None:
    names = [name for name in net.sites if name.endswith("hook_resid_post")]
    fields = effective_fields(net, {name: net.sites[name] for name in names})
    sides = [fields[name].side for name in names]
    assert sides[0] < sides[-1]
    assert sides[0] >= 3


def test_fields_of_a_single_convolution_are_exact() -> None:
    net = load({"kind": "cifar-resnet", "name": "net", "untrained": True})
    stem = {"blocks.0.hook_resid_pre": net.sites["blocks.0.hook_resid_pre"]}
    energy = effective_fields(net, stem)["blocks.0.hook_resid_pre"].energy
    rows, columns = np.nonzero(energy)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (15, 17, 15, 17)


def test_gratings_beyond_the_inputs_limit_are_named() -> None:
    cycles = np.array([2.0, 8, 13])
    assert characterise.aliasing(cycles, Preprocessing(32), 128) is None
    assert "13 cycles" in str(characterise.aliasing(cycles, Preprocessing(24), 128))
    with pytest.raises(ConfigError, match="alias"):
        characterise.tuning_battery(Preprocessing(16)).load()


def test_codes_are_probed_before_and_after_and_with_what_they_leave_out(net: Backbone) -> None:
    """A dictionary of one planted latent: a middle unit's value, thresholded."""
    stimuli = characterise.tuning_battery(net.preprocessing).load()  # type: ignore[arg-type]
    table = stimuli.table
    angle = np.deg2rad(table["orientation"].fillna(0).to_numpy(float))
    x = np.zeros((len(table), 1, 2), np.float32)
    shown = (table["family"] != "blanks").to_numpy()
    x[:, 0, 0] = np.where(shown, 1 + np.cos(2 * (angle - 0.7)), 0)
    x[:, 0, 1] = np.random.default_rng(0).standard_normal(len(table))

    def codes(values: np.ndarray) -> Latents:
        return Latents(np.maximum(values - 1.5, 0), values)

    found = tune(table, x, codes, lambda values: values * np.array([1, 0], np.float32), permutations=200)
    assert found.pre.label.tolist()[0] == found.post.label.tolist()[0] == "complex"
    assert found.pre.circular_variance[0] > 0.4 > found.post.circular_variance[0]
    assert found.unexplained == pytest.approx(
        x[:720, 0, 1].var() / (x[:720, 0, 0].var() + x[:720, 0, 1].var()), rel=0.2
    )
    assert found.series.colour.shape == (2,)


SMALL = {
    "kind": "probe", "images": 60, "places": 2, "components": 100, "permutations": 100, "noise": 200, "cards": 1,
}  # fmt: skip


@pytest.fixture
def probes() -> dict[str, Any]:
    """The content of a config that probes two sites of the demo's network."""
    return {
        "name": "small",
        "stimuli": {"kind": "battery", "name": "few", "families": ["gratings"], "limit": {"gratings": 12}, "size": 32},
        "models": [{"kind": "demo", "name": "net", "network": "residual"}],
        "capture": {"workers": 0},
        "comparisons": [{**SMALL, "sites": ["stem", "blocks.5.hook_resid_post"]}],
    }


def test_ventral_probe_works_alone(
    probes: dict[str, Any],
    ventral: Callable[..., tuple[int, str, str]],
    written: Callable[[dict[str, Any]], Path],
    tmp_path: Path,
) -> None:
    path, out = written(probes), tmp_path / "out"
    code, said, error = ventral("probe", path, "--out", out)
    assert code == 0, error
    assert "share of simple features" in said
    results = json.loads((out / "results.json").read_text())
    measures = {result["measure"] for result in results["results"]}
    assert {"share of simple features", "decoded from gratings (R2)", "participation ratio"} <= measures
    table = pd.read_csv(out / "features.csv")
    assert set(table["site"]) == {"blocks.0.hook_resid_pre", "blocks.5.hook_resid_post"}
    assert {"label", "circular_variance", "f1_f0", "simplicity", "colour_index", "suppression"} <= set(table)
    assert {
        "decoded from patches (R2)",
        "decoded from shapes (R2)",
        "decoded from objects (R2)",
        "V-information complexity, median",
        "exponent of the spectrum",
        "manifold capacity",
        "participation ratio, matched",
        "intrinsic dimension (TwoNN), matched",
        "share with a linear field",
        "share best predicted by an energy model",
        "receptive field, pixels",
    } <= measures
    assert {"information_complexity", "gabor_frequency", "energy_r"} <= set(table)
    assert {one["group"] for one in results["exhibits"]} == {"Intrinsic dimension at fewer images", "Feature cards"}
    assert all((out / one["file"]).read_bytes()[:4] == b"\x89PNG" for one in results["exhibits"])
    assert all(one["file"] in results["files"] for one in results["exhibits"])
    page = (out / "report.html").read_text()
    assert "share of simple features" in page
    assert "By depth: share" not in page, "two sites make no curve: they stand in the table"
    assert "What features encode" in page
    assert len(results["exhibits"]) == 3
    assert page.count('<figure class="card"') == 2
    assert any("No untrained network stands beside" in text for text in results["dropped"])
    code, again, _ = ventral("probe", path, "--out", out)
    assert code == 0
    assert again.splitlines()[-1] == said.splitlines()[-1]


def test_wrong_requests_are_one_sentence(
    probes: dict[str, Any],
    ventral: Callable[..., tuple[int, str, str]],
    written: Callable[[dict[str, Any]], Path],
    tmp_path: Path,
) -> None:
    code, _, error = ventral("probe", written(probes), "--sites", "blocks.99.hook_resid_post", "--out", tmp_path / "o")
    assert code == 2
    assert error.startswith("error: sites, model 'net': No site matches")
    code, _, error = ventral("probe", written(probes), "--sites", "stem/topk", "--out", tmp_path / "o")
    assert code == 2
    assert "no codes match" in error


def simple_share(model: dict[str, Any], sites: list[str], images: int) -> dict[str, float]:
    """Share of simple features by site."""
    from bridge.store import Store
    from comparisons.plan import Planner
    from comparisons.probing import chosen_sites

    config = parse(
        {
            "name": "x",
            "stimuli": {"kind": "battery", "name": "few", "families": ["blanks"]},
            "models": [model],
            "comparisons": [{"kind": "probe", "sites": sites, "probes": ["simplicity"], "images": images}],
        }
    )
    spec = config.comparisons[0]
    assert isinstance(spec, ProbeComparison)
    planner = Planner(config, Store())
    chosen = chosen_sites(planner, config.models[0], sites)
    found = probe_model(spec, config.models[0], chosen, {}, 0, "cpu", lambda share, text="": None)
    return {r["site"]: r["estimate"] for r in found.results if r["measure"] == "share of simple features"} | {
        f"median {r['site']}": r["estimate"] for r in found.results if r["measure"] == "Gabor simplicity, median"
    }


def test_a_deep_random_networks_features_are_less_simple_than_a_trained_ones_first_block() -> None:
    first, last = "blocks.0.hook_resid_post", "blocks.5.hook_resid_post"
    trained = simple_share({"kind": "demo", "name": "net", "network": "residual"}, [first], 150)
    random = simple_share({"kind": "demo", "name": "net", "network": "residual", "untrained": True}, [last], 150)
    assert random[f"median {last}"] < trained[f"median {first}"]
    assert random[last] <= trained[first]


@pytest.mark.data
@pytest.mark.slow
def test_resnet20_has_more_simple_features_at_its_start_than_at_its_end(data_folder: Path) -> None:
    """The stem and the first stage (blocks 0 to 2) against the last stage (blocks 6 to 8), real weights."""
    sites = ["stem", "blocks.[0-2].hook_resid_post", "blocks.[6-8].hook_resid_post"]
    share = simple_share({"kind": "cifar-resnet", "name": "net", "depth": 20, "weights": "pretrained"}, sites, 300)
    early = [share[name] for name in ("blocks.0.hook_resid_pre", *(f"blocks.{n}.hook_resid_post" for n in range(3)))]
    late = [share[f"blocks.{n}.hook_resid_post"] for n in (6, 7, 8)]
    assert min(early) > max(late)
    assert torch.tensor(early).mean() > 0.5


@pytest.mark.data
def test_resnet20s_stem_holds_more_simple_features_than_its_last_block(data_folder: Path) -> None:
    last = "blocks.8.hook_resid_post"
    share = simple_share(
        {"kind": "cifar-resnet", "name": "net", "depth": 20, "weights": "pretrained"},
        ["stem", "blocks.1.hook_resid_post", last],
        150,
    )
    assert min(share["blocks.0.hook_resid_pre"], share["blocks.1.hook_resid_post"]) > share[last] + 0.2


@pytest.mark.filterwarnings("ignore:.*(unexplained|dead after).*")
def test_latents_of_a_dictionary_are_probed_at_its_site(
    probes: dict[str, Any],
    ventral: Callable[..., tuple[int, str, str]],
    written: Callable[[dict[str, Any]], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before and after TopK, with the variance that it leaves unexplained on gratings."""
    place = "blocks.1.hook_resid_post"
    training = {"architecture": {"kind": "topk", "latents": 32, "k": 4}, "epochs": 4, "batch": 64}
    probes["saes"] = [{"kind": "train", "name": "topk", "sites": [place], "training": training, "least_explained": -9}]
    probes["comparisons"][0] |= {"sites": [f"{place}/topk"], "probes": ["tuning", "simplicity", "geometry"]}
    monkeypatch.setattr("comparisons.card_command.NOISE", 200)
    monkeypatch.setattr("comparisons.card_command.SCENES", 30)
    card = f"net:{place}/topk:3"
    code, told, error = ventral("probe", written(probes), "--out", tmp_path / "out", "--card", card)
    assert code == 0, error
    drawn = tmp_path / "out" / "cards" / "net-blocks.1.hook_resid_post-topk-3.html"
    assert f"Card: {drawn}" in told
    assert "32 latents of topk" in drawn.read_text()
    code, _, error = ventral("probe", written(probes), "--out", tmp_path / "out", "--card", card.replace(":3", ":32"))
    assert code == 2
    assert "has features 0 to 31, not 32" in error
    results = json.loads((tmp_path / "out" / "results.json").read_text())["results"]
    found = {result["measure"]: result for result in results if result["comparison"] == "probe"}
    assert {"FVU on gratings", "share of simple features", "effective number of live latents"} <= set(found)
    assert {result["site"] for result in found.values()} == {place}
    assert {(result["model"], result["dictionary"]) for result in found.values()} == {("net · topk", "topk")}
    table = pd.read_csv(tmp_path / "out" / "features.csv")
    assert len(table) == 32
    assert {"simplicity", "circular_variance", "post_circular_variance", "post_state"} <= set(table)


def test_recordings_that_are_named_are_probed(
    probes: dict[str, Any],
    ventral: Callable[..., tuple[int, str, str]],
    written: Callable[[dict[str, Any]], Path],
    tmp_path: Path,
) -> None:
    """Simulated ones, SIMULATED in the report; the other recordings play no part, and no table of features is made."""
    probes["stimuli"] |= {"limit": {"gratings": 96}}
    probes["recordings"] = [
        {"kind": "simulated", "name": "stream", "truth": "residual"},
        {"kind": "simulated", "name": "other", "truth": "nhbt"},
    ]
    probes["comparisons"] = [{**SMALL, "sites": ["stem"], "probes": ["geometry"], "recordings": ["stream"]}]
    code, told, error = ventral("probe", written(probes), "--out", tmp_path / "out")
    assert code == 0, error
    assert "One row a feature" not in told
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    mine = [result for result in found["results"] if result["role"] == "reference"]
    assert {result["recordings"] for result in mine} == {"neuroids of stream"}
    assert {result["model"] for result in mine} == {f"stream {region}" for region in ("V1", "V2", "V4", "IT")}
    assert all(result["simulated"] for result in mine)
    assert "participation ratio, matched" in {result["measure"] for result in mine}
    assert "SIMULATED" in (tmp_path / "out" / "report.html").read_text()
    probes["comparisons"][0]["recordings"] = ["streem"]
    code, _, error = ventral("probe", written(probes), "--out", tmp_path / "out")
    assert code == 2
    assert "did you mean 'stream'" in error


def test_neuroids_tell_of_gratings_as_far_as_their_trials_repeat() -> None:
    """Two regions with the same code for orientation; the second has as much noise that half of what is read is noise,
    and one neuroid that says nothing."""
    from bridge.recordings.recordings import Recordings
    from bridge.stimuli.battery import Battery
    from comparisons.probing.neuroids import probe_recordings
    from probes.decoding import orientation_target

    table = Battery(name="g", families=("gratings",), limit={"gratings": 120}, size=64).load().table
    rng = np.random.default_rng(0)
    code = orientation_target(table["orientation"]) @ rng.standard_normal((2, 60))
    noise = rng.standard_normal((6, 120, 60)) * np.where(np.arange(60) < 30, 0.3, 12)
    data = code + noise
    data[:, :, 59] = 1
    neuroids = pd.DataFrame({"neuroid_id": range(60), "region": ["V1"] * 30 + ["IT"] * 30, "subject": ["a", "b"] * 30})
    order = rng.permutation(120)  # aligned by id, not by place
    recordings = Recordings("made", data[:, order], tuple(table.index[order]), neuroids, simulated=True)
    results, dropped = probe_recordings([recordings], table, 0)
    of = {(r["model"], r["region"]): r for r in results if r["measure"] == "decoded from gratings (R2)"}
    clean, noisy = (of[f"made {region}", "orientation, other frequencies"] for region in ("V1", "IT"))
    assert clean["estimate"] > 0.9
    assert clean["ceiling"][0] > 0.95
    assert noisy["estimate"] < 0.7
    assert noisy["ceiling"][0] < 0.9
    assert all(abs(of[f"made {region}", "log frequency, other orientations"]["estimate"]) < 0.3 for region in ("V1",))
    assert (clean["n_subjects"], clean["n_stimuli"], clean["simulated"]) == (2, 120, True)
    assert dropped[0].startswith("made IT: 1 of 30 neuroids")
    assert {
        "29 of 30" in r["notes"][0] or "29 of 29" in r["notes"][0] for r in results if "matched" in r["measure"]
    } == {True}


def test_halves_hold_every_shown_repetition_once() -> None:
    from comparisons.probing.neuroids import _halves

    data = np.arange(6.0)[:, None, None] + np.zeros((6, 4, 2))
    data[4:, 1] = np.nan
    halves = _halves(data, np.random.default_rng(0))
    assert halves is not None
    assert np.isfinite(halves).all()
    np.testing.assert_allclose(halves.mean(axis=0)[[0, 1], 0], [2.5, 1.5])
    assert (halves[0] != halves[1]).any()
    data[1:, 2] = np.nan
    assert _halves(data, np.random.default_rng(0)) is None
