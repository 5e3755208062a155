import numpy as np
import pytest
from scipy import fft
from scipy.stats import kurtosis

from bridge.stimuli import load
from bridge.stimuli.procedural import canvas, colour, gratings, shapes, textures
from bridge.stimuli.procedural.objects import CATEGORIES, parts

COUNTS = {
    "gratings": 720,
    "contrasts": 288,
    "sizes": 384,
    "colours": 288,
    "gabors": 432,
    "edges": 216,
    "bars": 216,
    "textures": 450,
    "shapes": 864,
    "scenes": 640,
    "blanks": 9,
    "probes": 300,
}


@pytest.fixture(scope="module")
def everything():
    return load({"kind": "battery", "name": "all"})


def of_family(stimuli, family):
    return stimuli.select(np.flatnonzero(stimuli.table.family == family))


def test_the_battery_has_its_stated_sizes(everything):
    assert dict(everything.table.family.value_counts(sort=False)) == COUNTS
    assert everything.image(0).shape == (128, 128, 3)
    assert everything.image(0).dtype == np.uint8


@pytest.mark.parametrize("family", COUNTS)
def test_mean_luminance_is_mid_grey(everything, family):
    stimuli = of_family(everything, family)
    shown = np.random.default_rng(0).choice(len(stimuli), min(len(stimuli), 40), replace=False)
    images = np.stack([stimuli.image(int(row)) for row in shown]) / 255
    if family == "blanks":
        assert images.mean() == pytest.approx(0.5, abs=0.005)
    elif family == "colours":
        y = colour.linear(images) @ colour.RGB_TO_XYZ[1]
        assert y.mean() == pytest.approx(colour.linear(np.array(0.5)), abs=0.003)
    else:
        assert images.mean() == pytest.approx(0.5, abs=0.012)


def test_gratings_on_backgrounds_are_asked_for_by_name():
    stimuli = load({"kind": "battery", "name": "b", "families": ["backgrounds"], "size": 64})
    table = stimuli.table
    assert len(table) == 288
    assert (table.groupby(["orientation", "background"]).size() == 4).all()
    first, phase, other, again = (
        stimuli.image(int(stimuli.rows_of([name])[0])).astype(float).mean(axis=2)
        for name in (
            "background0-o000-sf5-p000", "background0-o000-sf5-p180", "background1-o000-sf5-p000",
            "background0-o090-sf5-p000",
        )
    )  # fmt: skip
    field = (first + phase) / 2  # opposite phases cancel: what is left is the background
    assert field.std() > 20
    assert abs(np.corrcoef(field.ravel(), (first - phase).ravel())[0, 1]) < 0.2
    assert np.corrcoef(field.ravel(), again.ravel())[0, 1] > 0.5
    assert np.corrcoef((first - other).ravel(), field.ravel())[0, 1] > 0.4


def test_colours_are_isoluminant_and_lie_on_their_axis(everything):
    stimuli = of_family(everything, "colours")
    for row in (0, 150):
        lms = colour.linear(stimuli.image(row) / 255) @ (colour.XYZ_TO_LMS @ colour.RGB_TO_XYZ).T
        contrast = lms / lms[0, 0] - 1  # the corner is background
        y = contrast[..., :2] @ lms[0, 0, :2] / lms[0, 0, :2].sum()
        silent = contrast[..., 2] if stimuli.table.colour.iloc[row] == "L-M" else contrast[..., 0]
        shown = contrast[..., 0] if stimuli.table.colour.iloc[row] == "L-M" else contrast[..., 2]
        assert np.abs(y).max() < 0.018  # one step of all three 8-bit values is .017 of the luminance of mid-grey
        assert np.abs(silent).max() < 0.025
        assert np.abs(shown).max() > 0.07


@pytest.mark.parametrize("axis", colour.AXES)
def test_before_rounding_to_8_bits_luminance_is_constant(axis):
    image = colour.isoluminant(np.linspace(-1, 1, 101, dtype=np.float32)[:, None], axis)
    luminance = colour.linear(image.astype(float)) @ (colour.XYZ_TO_LMS @ colour.RGB_TO_XYZ)[:2].sum(0)
    np.testing.assert_allclose(luminance, luminance[50, 0], rtol=1e-5)
    assert 0 < image.min() < image.max() < 1


def test_a_grating_has_its_orientation_frequency_and_contrast(everything):
    stimuli = of_family(everything, "gratings")
    for name, row in stimuli.table.iloc[::61].iterrows():
        pattern = stimuli.image(int(stimuli.rows_of([name])[0]))[..., 0] / 255 - 0.5
        power = np.abs(fft.fft2(pattern, (512, 512))) ** 2
        power[0, 0] = 0
        fy, fx = np.unravel_index(power[:, :256].argmax(), (512, 256))
        fy, fx = -((fy + 256) % 512 - 256) / 4, fx / 4  # cycles an image, y up
        assert np.hypot(fx, fy) == pytest.approx(row.cycles, abs=0.45)
        across = (row.orientation + 90) % 180
        away = (np.rad2deg(np.arctan2(fy, fx)) - across + 90) % 180 - 90
        assert abs(away) < 12
    assert row.sf == row.cycles / 8


def test_contrast_is_michelson_contrast(everything):
    stimuli = of_family(everything, "contrasts")
    for contrast in gratings.CONTRASTS:
        row = int(np.flatnonzero((stimuli.table.contrast == contrast) & (stimuli.table.phase == 0))[0])
        image = stimuli.image(row) / 255
        assert (image.max() - image.min()) / 2 == pytest.approx(contrast / 2, abs=0.006)


def test_edges_and_bars_lie_where_the_table_says(everything):
    for family in ("edges", "bars", "gabors", "shapes"):
        stimuli = of_family(everything, family)
        x, y = (np.broadcast_to(axis, (128, 128)) for axis in canvas.Canvas(128, 8.0).grid)
        for number in range(3, len(stimuli), 37):
            row = stimuli.table.iloc[number]
            weight = np.abs(stimuli.image(number)[..., 0] - 128.0)
            assert (weight * x).sum() / weight.sum() == pytest.approx(row.x, abs=0.25)
            assert (weight * y).sum() / weight.sum() == pytest.approx(row.y, abs=0.25)


def test_a_light_edge_of_orientation_0_is_light_above(everything):
    image = everything.image(int(everything.rows_of(["edge-o000-at4-light"])[0]))[..., 0].astype(int)
    assert image[60, 64] == 255
    assert image[68, 64] == 0


def test_factorial_families_have_orthogonal_factors(everything):
    for family, factors in {
        "gratings": ["orientation", "cycles", "phase"],
        "gabors": ["orientation", "cycles", "x", "y", "phase"],
        "edges": ["orientation", "x", "y", "polarity"],
        "shapes": ["shape", "size", "x", "y", "rotation", "polarity"],
    }.items():
        table = of_family(everything, family).table[factors].to_numpy(float)
        r = np.corrcoef(table.T) - np.eye(len(factors))
        assert np.abs(r).max() < 1e-9, family


@pytest.mark.parametrize("texture", textures.MAKERS)
def test_the_twin_keeps_the_spectrum_and_loses_the_structure(texture):
    image = textures.naturalistic(texture, 0, 128, 0)
    twin = textures.phase_randomised(image, canvas.generator(0))

    def amplitude(field):
        return np.abs(fft.rfft2(field - 0.5))

    np.testing.assert_allclose(amplitude(twin), amplitude(image), rtol=1e-3, atol=2e-2)
    shown = canvas.to_uint8(twin)[..., 0] / 255
    assert np.linalg.norm(amplitude(shown) - amplitude(image)) < 0.07 * np.linalg.norm(amplitude(image) * 1.0)

    def edges(field):
        return kurtosis((field - np.roll(field, 2, axis=1)).ravel())

    assert edges(image) - edges(twin) > 0.2


def test_contours_have_equal_area_and_differ(everything):
    stimuli = of_family(everything, "shapes")
    largest = stimuli.table[(stimuli.table["size"] > 2) & (stimuli.table.x == 0) & (stimuli.table.y == 0)]
    areas = []
    for name in largest.index:
        image = stimuli.image(int(stimuli.rows_of([name])[0]))[..., 0].astype(float)
        areas.append(np.abs(image - 128).sum() / (0.35 * 255))
    expected = np.pi * (shapes.SIZES[2] * 128) ** 2
    np.testing.assert_allclose(areas, expected, rtol=0.03)


def test_objects_are_all_different_and_none_is_invisible():
    assert len(CATEGORIES) == 8
    assert all(len(parts(category, 3)) >= 2 for category in CATEGORIES)
    stimuli = load({"kind": "battery", "name": "s", "families": ["scenes"]})
    still = stimuli.table[(stimuli.table.level == 0)].groupby("category").head(1)
    images = [stimuli.image(int(row)) for row in stimuli.rows_of(list(still.index))]
    assert all(image.std() > 20 for image in images)


def test_probes_repeat_the_same_pixels_also_when_displaced():
    stimuli = load({"kind": "battery", "name": "p", "families": ["probes", "scenes"], "jitter": 5})
    rows = np.flatnonzero(stimuli.table.probe == 9)
    assert len(rows) == 30
    np.testing.assert_array_equal(stimuli.image(int(rows[0])), stimuli.image(int(rows[17])))
    plain = load({"kind": "battery", "name": "p", "families": ["probes", "scenes"]})
    original = plain.rows_of([plain.table.shows.iloc[int(rows[0])]])[0]
    np.testing.assert_array_equal(plain.image(int(rows[0])), plain.image(int(original)))


def test_a_displacement_moves_the_pattern_and_nothing_else():
    row = next(iter(textures.rows(canvas.Setting(8.0, (2,), 0, 1, 1))))
    still = textures.draw(row, canvas.Canvas(64, 8.0), 0)
    moved = textures.draw(row, canvas.Canvas(64, 8.0, (3, 2)), 0)
    np.testing.assert_array_equal(moved[:-2, 3:], still[2:, :-3])
    grating = {"orientation": 30, "sf": 1.0, "phase": 0, "contrast": 1.0, "radius": 3.0, "colour": "achromatic"}
    still, moved = (gratings.draw(grating, canvas.Canvas(64, 8.0, shift), 0) for shift in ((0, 0), (3, 2)))
    np.testing.assert_allclose(moved[:-2, 3:], still[2:, :-3], atol=1e-5)
