import io

import numpy as np
import pytest
from PIL import Image

from bridge.errors import InputError
from bridge.stimuli.images import check, content_sha256, decode, natural


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_every_pixel_format_comes_out_as_rgb():
    grey = noise(8, 6)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(grey)), "grey"), np.repeat(grey[..., None], 3, 2))
    wide = np.arange(48, dtype=np.uint16).reshape(8, 6) * 1394
    shown = decode(encoded(Image.fromarray(wide)), "16 bit")
    np.testing.assert_allclose(shown[..., 0], wide / 257, atol=0.5 + 1e-6)
    colours = noise(8, 6, 3)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(colours)), "rgb"), colours)
    palette = Image.fromarray(colours).quantize(8)
    np.testing.assert_array_equal(decode(encoded(palette), "palette"), np.asarray(palette.convert("RGB")))
    cmyk = decode(encoded(Image.fromarray(noise(8, 6, 4), "CMYK"), "TIFF"), "cmyk")
    assert cmyk.shape == (8, 6, 3)
    assert decode(encoded(Image.fromarray(grey).convert("1")), "1 bit").max() == 255


def test_transparency_lies_over_mid_grey():
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (255, 0, 0, 255)
    shown = decode(encoded(Image.fromarray(rgba)), "rgba")
    assert shown[0, 0].tolist() == [255, 0, 0]
    assert shown[1, 1].tolist() == [128, 128, 128]


def test_a_photograph_is_turned_as_it_says():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    data = encoded(Image.fromarray(noise(8, 4, 3)), "JPEG", exif=exif)
    assert decode(data, "turned").shape == (4, 8, 3)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_truncated_image_is_named_and_found_by_the_check(form):
    data = encoded(Image.fromarray(noise(64, 64, 3)), form)
    assert check(data) is None
    for broken in (data[: len(data) // 2], b"", b"no image at all"):
        assert check(broken)
        with pytest.raises(InputError, match=r"The image monkey\.png cannot be read") as error:
            decode(broken, "monkey.png")
        assert str(error.value).count(".") <= 3


def test_what_has_no_stated_range_is_refused():
    data = encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF")
    assert "floating" in check(data)
    with pytest.raises(InputError, match="floating"):
        decode(data, "float")


def test_natural_order():
    assert sorted(["b10", "b2", "a", "10", "9"], key=natural) == ["9", "10", "a", "b2", "b10"]


def test_a_changed_file_has_another_hash(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    first = content_sha256(path)
    path.write_bytes(b"three")
    assert content_sha256(path) != first
    with pytest.raises(InputError, match="no such file"):
        content_sha256(tmp_path / "b.bin")
