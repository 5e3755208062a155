import pickle
import subprocess
import sys
import time

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from bridge.errors import ConfigError
from bridge.stimuli import AnyStimuli, load
from bridge.stimuli.battery import GENERATOR, KEPT_SIZE, Battery, _drawn


def battery(**fields):
    return load({"kind": "battery", "name": "b", **fields})


def test_every_image_is_the_same_in_any_order_subset_and_process():
    everything = battery(families=["edges", "scenes"])
    rows = [640, 3, 300, 217]
    again = pickle.loads(pickle.dumps(battery(families=["edges", "scenes"]).source))
    backwards = {row: again.image(row) for row in reversed(rows)}
    _drawn.cache_clear()
    for row in rows:
        np.testing.assert_array_equal(everything.image(row), backwards[row])
    part = battery(families=["scenes"], limit={"scenes": 24})
    _drawn.cache_clear()
    for row, stimulus in enumerate(part.ids[:5]):
        np.testing.assert_array_equal(part.image(row), everything.image(int(everything.rows_of([stimulus])[0])))
    assert len(pickle.dumps(everything.source)) < 1000


def test_scenes_separate_identity_from_nuisances():
    table = battery(families=["scenes"]).table
    varied = table[table.level > 0]
    nuisances = varied[["x", "y", "size", "rotation", "turn", "tone"]].to_numpy()
    identity = np.stack([varied.category == c for c in sorted(set(varied.category))], axis=1).astype(float)
    exemplar = np.stack([varied.exemplar == e for e in range(4)], axis=1).astype(float)
    both = np.corrcoef(np.concatenate([identity, exemplar, nuisances], axis=1).T)
    assert np.abs(both[:12, 12:]).max() < 0.05
    between = both[12:, 12:] - np.eye(6)
    assert np.abs(between).max() < 0.05


def test_a_seed_changes_backgrounds_but_not_objects():
    first, other = battery(families=["scenes"], seed=0), battery(families=["scenes"], seed=1)
    assert first.content_hash != other.content_hash
    assert (first.image(0) != other.image(0)).mean() > 0.9


def test_a_balanced_subset_keeps_levels_even_and_grows():
    small, large = (battery(families=["gratings"], limit={"gratings": n}).table for n in (120, 240))
    for factor in ("orientation", "cycles", "phase"):
        counts = small[factor].value_counts()
        assert counts.max() - counts.min() <= 2
    assert set(small.index) < set(large.index)


def test_gratings_of_other_phases_are_displaced_alike():
    table = battery(families=["gratings"], jitter=4).table
    assert (table.groupby(["orientation", "cycles"])[["jitter_x", "jitter_y"]].nunique() == 1).all().all()
    assert table.jitter_x.abs().max() == 4
    assert table.jitter_x.nunique() == 9


def test_a_kept_image_is_never_changed_by_its_reader():
    """Images are kept in memory, so that several networks are shown what was drawn once."""
    stimuli = Battery(name="x", families=("gratings",), size=32).load()
    first = stimuli.image(3)
    whole = first.copy()
    first[:] = 0
    assert (stimuli.image(3) == whole).all()
    large = Battery(name="x", families=("gratings",), size=KEPT_SIZE + 2).load()
    before = _drawn.cache_info().currsize
    large.image(3)
    assert _drawn.cache_info().currsize == before, "large ones would take too much"


def test_too_high_a_frequency_is_refused():
    with pytest.raises(ConfigError, match="alias"):
        battery(families=["gratings"], size=16)
    with pytest.raises(ValidationError, match="ascend"):
        TypeAdapter(AnyStimuli).validate_python({"kind": "battery", "name": "b", "cycles": [4, 2]})


def test_whole_levels_are_held_out():
    table = battery(families=["gratings", "scenes"]).table
    gratings, scenes = table[table.family == "gratings"], table[table.family == "scenes"]
    assert gratings.groupby("cycles").held_out.nunique().max() == 1
    assert scenes.groupby("exemplar").held_out.nunique().max() == 1
    assert 0 < table.held_out.mean() < 0.5


def test_the_fingerprint_knows_the_content_and_not_the_name():
    one, two = Battery(name="one"), Battery(name="two")
    assert one.fingerprint() == two.fingerprint()
    assert one.fingerprint() != Battery(name="one", seed=1).fingerprint()


def test_drawing_is_fast():
    everything = battery()
    rows = np.random.default_rng(0).choice(len(everything), 300, replace=False)
    everything.image(0)
    _drawn.cache_clear()
    start = time.process_time()
    for row in rows:
        everything.image(int(row))
    assert time.process_time() - start < 0.5 * 3  # 3,000 in 5 s, with a margin of three for a busy machine


EXPECTED_MOMENTS = (0.500401, 0.133861)


def test_the_drawing_is_what_its_version_says():
    """If this fails because a drawing was changed on purpose, raise GENERATOR and state the new values."""
    everything = battery()
    shown = [everything.image(int(row)) / 255 for row in range(0, len(everything), 37)]
    moments = np.array([(image.mean(), image.std()) for image in shown])
    assert GENERATOR == 1
    np.testing.assert_allclose(moments.mean(axis=0), EXPECTED_MOMENTS, atol=2e-5)


def test_a_config_is_read_without_heavy_libraries():
    code = (
        "import sys; from bridge.stimuli import AnyStimuli; from pydantic import TypeAdapter; "
        "TypeAdapter(AnyStimuli).validate_python({'kind': 'battery', 'name': 'b'}).fingerprint(); "
        "print([m for m in ('numpy', 'pandas', 'torch', 'PIL', 'scipy', 'datasets') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
