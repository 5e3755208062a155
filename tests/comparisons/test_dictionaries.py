"""Dictionaries in a run: trained or loaded by config, their codes as features, and what the results say of them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hub_stand_in import Hub

import saes
from bridge.activations import weights_sha256
from bridge.errors import ConfigError, InputError
from bridge.readers import Activations
from bridge.store import Store
from comparisons.config import parse
from comparisons.dictionaries import quality_of
from comparisons.features import site_features
from comparisons.plan import Planner, add_dictionaries, make_plan, plan_training
from comparisons.results import RunResults
from comparisons.running import Silent, execute, run
from saes.checkpoints import read_folder
from saes.sae import SAEConfig, SparseAutoencoder

EARLY, WRITE, LATE = "blocks.0.hook_resid_post", "blocks.4.hook_write", "blocks.5.hook_resid_post"
QUICK = {"batch": 64, "epochs": 4, "architecture": {"kind": "topk", "expansion": 4}}


class Counting(Silent):
    """Remembers which stages were computed."""

    def __init__(self) -> None:
        self.computed: list[str] = []

    def finished(self, stage: Any, seconds: float, reused: bool) -> None:
        self.computed.append(stage.id)


@pytest.fixture(autouse=True)
def _short_trainings_warn() -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*(unexplained|dead after).*", UserWarning)
        yield


@pytest.fixture
def study(tiny: dict[str, Any]) -> Any:
    """A config of the demo network with dictionaries; `sites` are compared."""

    def make(*entries: dict[str, Any], sites: list[str] | None = None, **more: Any) -> dict[str, Any]:
        comparison = {"kind": "rsa", "sites": sites or ["blocks.*.*/*"], "measures": ["corr"], "draws": 20}
        models = [{"kind": "demo", "name": "net"}]
        return {**tiny, "models": models, "saes": list(entries), "comparisons": [comparison], **more}

    return make


def training(name: str = "topk", sites: list[str] | None = None, **more: Any) -> dict[str, Any]:
    return {"kind": "train", "name": name, "sites": sites or [LATE], "training": QUICK, "least_explained": -9, **more}


def trained(content: dict[str, Any], store: Store | None = None) -> dict[str, SparseAutoencoder]:
    """The dictionaries of a config's entries, by SITE/NAME."""
    store = store or Store()
    plan = plan_training(parse(content), store)
    paths, _ = execute(plan, store, Silent())
    return {key: read_folder(paths[name] / key) for name in plan.results for key in quality_of(paths[name])}


def same(one: SparseAutoencoder, other: SparseAutoencoder) -> bool:
    ours, theirs = one.tensors(), other.tensors()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def perfect(width: int = 32, **metadata: Any) -> SparseAutoencoder:
    """A dictionary of +- an orthonormal basis: it reconstructs anything."""
    basis = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(1)))[0]
    directions = torch.cat([basis, -basis])
    tensors = {"W_enc": directions.T.contiguous(), "W_dec": directions, "b_enc": torch.zeros(2 * width)}
    config = SAEConfig("standard", width, 2 * width, metadata=metadata)
    return SparseAutoencoder(config, {**tensors, "b_dec": torch.zeros(width)})


# ------------------------------------------------------------------------------------------------------- a run


def test_a_run_trains_and_compares_codes_beside_the_stream(study: Any, tmp_path: Path) -> None:
    content = study(training(sites=["stem", LATE]), sites=["stem", LATE, "stem/topk", f"{LATE}/topk"])
    counting = Counting()
    results = run(parse(content), tmp_path / "out", reporter=counting)
    v1 = {(r.model, r.site, r.dictionary) for r in results.results if r.region == "V1"}
    stem = "blocks.0.hook_resid_pre"
    assert v1 == {(m, s, d) for m, d in (("net", None), ("net · topk", "topk")) for s in (stem, LATE)}
    assert RunResults.model_validate_json((tmp_path / "out" / "results.json").read_bytes()) == results
    one = {entry.reads: entry for entry in results.dictionaries}[(LATE,)]
    assert (one.name, one.model, one.architecture, one.latents, one.k) == ("topk", "net", "topk", 128, 8)
    assert one.l0 is not None
    assert 0 < one.l0 <= 8
    assert one.source is None
    assert [key.split("/")[0] for key in one.artefacts] == ["saes", "codes"]

    counting.computed.clear()
    assert run(parse(content), tmp_path / "out", reporter=counting) == results
    again = run(parse(content), tmp_path / "elsewhere", reporter=counting)
    assert (again.results, again.dictionaries) == (results.results, results.dictionaries)
    lower = parse(study(training(sites=["stem", LATE], least_explained=-10), sites=["stem", LATE]))
    run(lower, tmp_path / "lower", reporter=counting)
    assert not [name for name in counting.computed if name.startswith(("sae", "capture"))]


def test_what_is_said_of_a_dictionary_is_measured(study: Any, tmp_path: Path) -> None:
    content, store = study(training(), sites=[f"{LATE}/topk"]), Store()
    (one,) = run(parse(content), tmp_path / "out", store=store).dictionaries
    sae = trained(content, store)[f"{LATE}/topk"]
    planner = Planner(parse(content), store)
    plan = planner.finish([planner.capture(planner.config.models[0], [LATE])])
    captured = Activations(execute(plan, store, Silent())[0]["capture net"])
    x = captured.read(LATE).reshape(-1, 32).astype(np.float64)
    errors = x - sae(torch.from_numpy(x).float()).detach().double().numpy()
    np.testing.assert_allclose(one.explained, 1 - (errors**2).sum() / ((x - x.mean(0)) ** 2).sum(), rtol=1e-4)
    assert sae.config.metadata["weights"] == weights_sha256(planner.config.models[0].load())
    assert one.unexplained == sae.config.metadata["metrics"]["fvu"]


@pytest.mark.parametrize("pool", ["none", "mean", "max"])
@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_codes_are_those_of_the_activations(study: Any, kind: str, pool: Any) -> None:
    quick = {**QUICK, "architecture": {"kind": kind, "expansion": 4}}
    config, store = parse(study(training("codes", training=quick))), Store()
    planner = Planner(config, store)
    made = add_dictionaries(planner)
    features = site_features(planner, config.models[0], [LATE, f"{LATE}/codes"])
    needed, _ = execute(planner.finish([*made, *features.needs]), store, Silent())
    ids = planner.stimuli.ids[::-1][:5]
    values = Activations(needed[features.stages[LATE]]).read(LATE, ids)
    sae = read_folder(needed[made[0]] / LATE / "codes")
    dense = sae.encode(torch.from_numpy(values)).detach().numpy()  # [5, tokens, latents]
    assert 0 < (dense != 0).mean() < 0.5
    wanted = {"none": dense.reshape(5, -1), "mean": dense.mean(1), "max": dense.max(1)}[pool]
    found = features.read(needed, f"{LATE}/codes", ids, pool)
    np.testing.assert_allclose(found.toarray(), wanted, rtol=1e-5, atol=1e-6)  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"1 of 1 stimulus ids have no codes of .*/codes"):
        features.read(needed, f"{LATE}/codes", ["nowhere"], pool)


def test_padding_has_no_codes() -> None:
    from scipy.sparse import csr_matrix

    from comparisons.codes import _spread

    dense = np.array([[0, 2.0], [1, 0], [3, 4]])
    spread = _spread(csr_matrix(dense), np.array([True, False, True, True, False]))
    np.testing.assert_array_equal(spread.toarray(), [[0, 2], [0, 0], [1, 0], [3, 4], [0, 0]])


# ----------------------------------------------------------------------------------------------------- trainings


def test_sites_with_other_grids_and_several_seeds(study: Any, tmp_path: Path) -> None:
    entry = training(sites=[EARLY, LATE, "blocks.11.hook_resid_post"], tokens="patches", seeds=2)
    results = run(parse(study(entry)), tmp_path / "out")
    found = {(one.reads[0], one.name): one for one in results.dictionaries}
    assert len(found) == 6
    assert {one.latents for one in results.dictionaries} == {64, 128, 256}
    for (_, name), one in found.items():
        assert (one.seed_stability is not None) == (name == "topk.1")
        assert all(one.reads[0] + "/" + name in text for text in one.warnings)
    saes_ = trained(study(entry))
    assert not same(saes_[f"{LATE}/topk"], saes_[f"{LATE}/topk.1"])
    from saes.stability import seed_stability

    directions = [saes_[f"{LATE}/{name}"].decoder_directions for name in ("topk", "topk.1")]
    np.testing.assert_allclose(found[LATE, "topk.1"].seed_stability, seed_stability(*directions).mean, rtol=1e-6)


def test_dictionaries_of_two_sites_do_not_start_alike(study: Any) -> None:
    """Of two sites of one width, after a single step: else a match between sites would find the common start."""
    from saes.stability import seed_stability

    entry = training(sites=[EARLY, "blocks.1.hook_resid_post"], tokens="patches")
    entry["training"] = {**entry["training"], "tokens": 64}
    early, late = trained(study(entry)).values()
    assert early.decoder_directions.shape == late.decoder_directions.shape
    assert seed_stability(early.decoder_directions, late.decoder_directions).mean < 0.9


def test_seeds_of_a_name_with_a_dot_are_held_against_the_first(study: Any) -> None:
    store = Store()
    plan = plan_training(parse(study(training("topk.v2", seeds=2))), store)
    quality = quality_of(execute(plan, store, Silent())[0][plan.results[0]])
    assert "seed_stability" in quality[f"{LATE}/topk.v2.1"]


def test_neither_order_nor_company_of_sites_changes_a_dictionary(study: Any) -> None:
    alone = trained(study(training(sites=[LATE])))[f"{LATE}/topk"]
    for sites in ([LATE, WRITE], [WRITE, LATE], [EARLY, LATE]):
        assert same(trained(study(training(sites=sites)))[f"{LATE}/topk"], alone)


def test_straight_from_hooks(study: Any, tmp_path: Path) -> None:
    counting = Counting()
    entry = training(source="hooks", sites=[EARLY, LATE])
    results = run(parse(study(entry)), tmp_path / "out", reporter=counting)
    assert counting.computed.index("sae topk net") < counting.computed.index("capture net")
    assert not [name for name in counting.computed if name.startswith("capture") and name != "capture net"]
    sae = trained(study(entry))[f"{LATE}/topk"]
    assert sae.config.metadata["weights"] == weights_sha256(parse(study(entry)).models[0].load())
    assert all(one.explained is not None for one in results.dictionaries)


def test_a_crosscoder_reads_its_sites_together(study: Any, tmp_path: Path) -> None:
    content = study(training("cross", sites=[LATE, WRITE], joint=True), sites=["blocks.*.*/cross"])
    (one,) = (results := run(parse(content), tmp_path / "out")).dictionaries
    assert (one.reads, one.latents) == ((WRITE, LATE), 4 * 64)
    assert {(r.site, r.dictionary) for r in results.results if r.role != "reference"} == {(LATE, "cross")}
    assert one.explained is not None
    # What was saved can be loaded in another run, which asks the folder for the sites.
    store = Store()
    plan = plan_training(parse(content), store)
    folder = execute(plan, store, Silent())[0][plan.results[0]] / LATE / "cross"
    load = {"kind": "load", "name": "old", "path": str(folder), "least_explained": -9}
    (again,) = run(parse(study(load)), tmp_path / "again").dictionaries
    assert (again.reads, again.explained) == (one.reads, one.explained)
    # k is held against the latents of all sites together
    wide = {**QUICK, "architecture": {"kind": "topk", "expansion": 1, "k": 40}}
    plan_training(parse(study(training(sites=[LATE, WRITE], joint=True, training=wide))), store)
    with pytest.raises(ConfigError, match="saes 'topk': k is 40 and the dictionary has 32 latents; give a smaller k"):
        plan_training(parse(study(training(sites=[LATE, WRITE], training=wide))), store)


@pytest.mark.parametrize("skip", [False, True])
def test_a_transcoder_predicts_another_site(study: Any, tmp_path: Path, skip: bool) -> None:
    quick = {**QUICK, "architecture": {"kind": "batchtopk", "expansion": 4}}
    entry = training("over", sites=["blocks.5.hook_resid_pre"], writes="blocks.5.hook_write", skip=skip, training=quick)
    (one,) = run(parse(study(entry)), tmp_path / "out").dictionaries
    assert (one.reads, one.writes) == (("blocks.5.hook_resid_pre",), "blocks.5.hook_write")
    assert one.architecture == "batchtopk"
    assert one.explained is not None
    assert one.explained != 1
    store = Store()
    plan = plan_training(parse(study(entry)), store)
    folder = execute(plan, store, Silent())[0][plan.results[0]] / one.reads[0] / "over"
    load = {"kind": "load", "name": "old", "path": str(folder), "least_explained": -9}
    (again,) = run(parse(study(load)), tmp_path / "again").dictionaries
    assert (again.writes, again.explained) == (one.writes, one.explained)


def test_an_interrupted_training_goes_on_to_the_same_tensors(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import saes.training

    content = study(training(sites=[EARLY, LATE], tokens="patches"))
    whole = trained(content)
    store = Store(Store().root / "other")
    step, steps = saes.training.Trainee.step, []

    def killed(self: Any, *given: Any, **named: Any) -> Any:
        steps.append(self.name)
        if len(steps) == 60:
            raise KeyboardInterrupt
        return step(self, *given, **named)

    with monkeypatch.context() as broken:
        broken.setattr(saes.training.Trainee, "step", killed)
        often = {**(saes.training.train.__kwdefaults__ or {}), "checkpoint_seconds": 0.0}
        broken.setattr(saes.training.train, "__kwdefaults__", often)
        with pytest.raises(KeyboardInterrupt):
            trained(content, store)
    assert not list(store.root.glob("saes/*/artefact.json"))
    after: list[str] = []
    monkeypatch.setattr(
        saes.training.Trainee, "step", lambda self, *a, **n: (after.append(self.name), step(self, *a, **n))[1]
    )
    resumed = trained(content, store)
    assert len(steps) - 1 + len(after) == 4 * (-(-11 * 256 // 64) + -(-11 * 64 // 64))
    assert resumed.keys() == whole.keys()
    assert all(same(resumed[name], whole[name]) for name in whole)
    assert not list(store.root.glob("saes/**/training.safetensors"))


# -------------------------------------------------------------------------------------------------------- loading


def test_a_dictionary_from_a_folder(study: Any, tmp_path: Path) -> None:
    saes.save(perfect(hook_name=LATE, model_name="net"), tmp_path / "own")
    results = run(parse(study({"kind": "load", "name": "own", "path": str(tmp_path / "own")})), tmp_path / "out")
    (one,) = results.dictionaries
    np.testing.assert_allclose(one.explained, 1, atol=1e-5)
    assert (one.source, one.architecture, one.unexplained, one.latents) == ("own", "standard", None, 64)
    assert one.l0 is not None
    assert 16 < one.l0 <= 32
    assert one.dead is not None
    assert {r.model for r in results.results} == {"net · own"}


def test_a_dictionary_from_the_hub_is_pinned(study: Any, tmp_path: Path, hub: Hub) -> None:
    saes.save(perfect(hook_name=LATE, model_name="net"), tmp_path / "made")
    files = {f"late/{path.name}": path.read_bytes() for path in (tmp_path / "made").iterdir()}
    commit = hub.add("lab/dictionaries", files)
    entry = {"kind": "load", "name": "theirs", "path": "lab/dictionaries", "id": "late"}
    results = run(parse(study(entry)), tmp_path / "out")
    (one,) = results.dictionaries
    assert one.source == f"lab/dictionaries/late {commit}"
    assert one.reads == (LATE,)
    hub.stop()
    counting = Counting()
    assert run(parse(study(entry)), tmp_path / "out", reporter=counting) == results
    run(parse(study(entry)), tmp_path / "offline", store=Store(tmp_path / "fresh"), reporter=counting)
    assert "sae theirs net" in counting.computed


def test_a_registry_release_does_not_say_its_site_beforehand(study: Any) -> None:
    with pytest.raises(ConfigError, match="saes 'theirs': state the `site` that it is of"):
        make_plan(parse(study({"kind": "load", "name": "theirs", "path": "some-release"})), Store())


# ------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("entry", "sites", "words"),
    [
        (training(models=["nett"]), None, "saes 'topk': there is no model 'nett'; did you mean 'net'"),
        (training(sites=["blocks.77.*"]), None, "No site matches 'blocks.77.*'"),
        (training(), [f"{LATE}/topc"], f"no codes match '{LATE}/topc'; did you mean '{LATE}/topk'"),
        (training(tokens="patches", joint=True, sites=[EARLY, LATE]), None, "have 64, 256 patches a stimulus"),
        (training(tokens=16, joint=True, sites=[EARLY, LATE]), None, "a token must be at one place in all"),
        (training(skip=True), None, "only transcoders have a `skip`"),
        (training(writes=LATE), None, "a transcoder reads one site and writes another"),
        (training(writes="blocks.*.hook_write"), None, "writes 'blocks.*.hook_write' is 12 sites of net; give one"),
        (training(writes=WRITE, training={"architecture": {"kind": "gated"}}), None, "saes 'topk': A gated transcoder"),
        (
            training(training={"architecture": {"kind": "topk", "latents": 4, "k": 5}}),
            None,
            "saes 'topk': k is 5 and the dictionary has 4 latents; give a smaller k, or more latents",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_runs(
    study: Any, entry: dict[str, Any], sites: list[str] | None, words: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        make_plan(parse(study(entry, sites=sites)), Store())
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_codes_without_dictionaries(study: Any) -> None:
    with pytest.raises(ConfigError, match=r"no codes match 'blocks\.\*/topk'; the config has no `saes`"):
        make_plan(parse(study(sites=["blocks.*/topk"])), Store())


@pytest.mark.parametrize("second", ["topk", "topk.1"])
def test_names_are_given_once(study: Any, second: str) -> None:
    with pytest.raises(ConfigError, match=f"two of them are named '{second}'; give each a name of its own"):
        parse(study(training(seeds=2), training(second)))


@pytest.mark.parametrize(
    ("sae", "more", "words"),
    [
        (perfect(hook_name=LATE, model_name="another"), {}, "was trained on another, and the model at hand is net"),
        (perfect(hook_name=LATE, weights="0" * 64), {}, "with weights 000000000000..., and the model at hand"),
        (perfect(16, hook_name=LATE), {}, "reads 16 values and blocks.5.hook_resid_post of net has 32"),
        (perfect(hook_name=LATE), {"site": WRITE}, f"was trained at {LATE}, and the site at hand is {WRITE}"),
        (perfect(hook_name="blocks.55.hook_resid_post"), {}, "'blocks.55.hook_resid_post', which net lacks; did you"),
        (perfect(), {}, "state the `site` that it is of"),
        (perfect(), {"site": "blocks.5.hook_resid_pos"}, f"which net lacks; did you mean '{LATE}'"),
    ],
)
def test_a_dictionary_of_something_else_is_refused(
    study: Any, tmp_path: Path, sae: SparseAutoencoder, more: dict[str, Any], words: str
) -> None:
    saes.save(sae, tmp_path / "own")
    content = study({"kind": "load", "name": "own", "path": str(tmp_path / "own"), **more}, sites=[LATE])
    with pytest.raises(ConfigError) as refused:
        run(parse(content), tmp_path / "out")
    assert words in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_wrong_folder_is_refused(study: Any, tmp_path: Path) -> None:
    content = study({"kind": "load", "name": "own", "path": str(tmp_path / "absent"), "site": LATE})
    with pytest.raises(
        InputError, match=r"holds no dictionary; give a folder with cfg\.json and sae_weights\.safetensors"
    ):
        make_plan(parse(content), Store())


def test_a_dictionary_that_explains_too_little_is_refused(study: Any, tmp_path: Path) -> None:
    weak = perfect(hook_name=LATE)
    with torch.no_grad():
        weak.W_dec.mul_(0.2)
    saes.save(weak, tmp_path / "own")
    load = {"kind": "load", "name": "own", "path": str(tmp_path / "own")}
    with pytest.raises(InputError, match=r"explains 0\.\d+ of the variance .*, less than 0.5"):
        run(parse(study(load)), tmp_path / "out")
    (one,) = run(parse(study({**load, "least_explained": 0.1})), tmp_path / "out").dictionaries
    assert one.explained is not None
    assert 0.1 < one.explained < 0.5
    with pytest.raises(InputError, match=r"explains \d+% of the variance of net's activations.* 100% of least_explain"):
        run(parse(study(training(least_explained=0.9999))), tmp_path / "trained")
