"""Whatever a person may hand over is read as they would expect, or answered in one sentence."""

import io
import json
import os
import re
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter
from PIL.PngImagePlugin import PngInfo
from scipy import ndimage
from skimage import data

from retsynth import __version__
from retsynth.images import (
    COMMENT,
    SIZE,
    as_png,
    overlay,
    png_bytes,
    read_fundus,
    read_image,
    read_mask,
    read_metadata,
    to_array,
    to_tensor,
    write_bytes,
    write_image,
)


def encode(array: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""
    chunks = b""
    for name, body in ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        chunks += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return b"\x89PNG\r\n\x1a\n" + chunks


def dice(a: torch.Tensor, b: np.ndarray) -> float:
    a = a[0, 0].numpy() > 0
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def parts(mask: torch.Tensor) -> int:
    return ndimage.label(mask[0, 0].numpy(), np.ones((3, 3)))[1]


@pytest.fixture(scope="module")
def tree(vessel_tree) -> np.ndarray:
    return vessel_tree(1)


@pytest.fixture(scope="module")
def grey(tree) -> np.ndarray:
    return tree.astype(np.uint8) * 255


@pytest.fixture(scope="module")
def colours() -> np.ndarray:
    """A small picture with a value of its own in each pixel and channel."""
    y, x = np.mgrid[:40, :60]
    return np.stack((4 * x, 6 * y, 255 - 2 * x - 3 * y), -1).astype(np.uint8)


# --- files of every kind -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM", "WEBP"])
def test_lossless_files_are_read_exactly(colours, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(read_image(encode(colours, kind, **options)), colours)


def test_path_bytes_pillow_and_array_are_the_same_image(colours, tmp_path):
    (tmp_path / "a.png").write_bytes(encode(colours))
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), encode(colours), Image.fromarray(colours), colours):
        assert np.array_equal(read_image(source), colours)


def test_grey_palette_and_one_bit_files(colours, grey):
    assert np.array_equal(read_image(encode(grey)), np.repeat(grey[..., None], 3, 2))
    assert np.array_equal(read_image(encode(Image.fromarray(grey).convert("1"))), np.repeat(grey[..., None], 3, 2))
    palette = Image.fromarray(colours).quantize(32)
    assert np.array_equal(read_image(encode(palette)), np.asarray(palette.convert("RGB")))


def test_cmyk_jpeg_keeps_its_colours():
    red = Image.new("RGB", (64, 64), (200, 30, 40)).convert("CMYK")
    assert np.abs(read_image(encode(red, "JPEG", quality=95)).astype(int) - (200, 30, 40)).max() <= 6


def test_sixteen_bits_are_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 32 * 32).reshape(32, 32)
    for image in (ramp.astype(np.uint16), Image.fromarray(ramp.astype(np.uint16)), encode(ramp.astype(np.uint16))):
        assert np.abs(read_image(image)[..., 0] - ramp / 257).max() <= 0.51
    twelve = (ramp / 16).astype(np.uint16)  # as medical cameras write
    assert np.abs(read_image(encode(twelve))[..., 0] - twelve / 4095 * 255).max() <= 0.51


def test_fractions_and_booleans_are_images_too(tree):
    expected = np.repeat(tree[..., None] * np.uint8(255), 3, 2)
    for array in (tree, tree.astype(np.float32), tree[..., None].astype(float)):
        assert np.array_equal(read_image(array), expected)
    assert read_image(np.full((20, 20), 0.5))[0, 0, 0] == 128
    assert read_image(np.where(np.eye(20) > 0, np.nan, 0.5)).max() == 128
    assert np.unique(read_image(np.where(np.eye(20) > 0, 1.001, 0.5))).tolist() == [128, 255], "resampling goes a little over 1"


def test_fractions_in_a_file_are_scaled_as_in_an_array():
    ramp = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    assert np.array_equal(read_image(encode(ramp, "TIFF")), read_image(ramp))


@pytest.mark.parametrize("odd", [-0.5, np.inf, -np.inf])
def test_numbers_that_are_no_brightness_are_black(odd):
    assert np.unique(read_image(np.where(np.eye(20) > 0, odd, 0.5))).tolist() == [0, 128]


def test_transparent_pixels_become_black():
    rgba = np.full((20, 20, 4), 200, np.uint8)
    rgba[:10, :, 3], rgba[10:, :, 3] = 0, 255
    for source in (rgba, encode(rgba)):
        assert (read_image(source)[:10] == 0).all()
        assert (read_image(source)[10:] == 200).all()
    half = np.full((20, 20, 2), 128, np.uint8)  # grey with alpha
    assert (read_image(encode(half)) == 64).all()


def test_black_strokes_on_nothing_are_on_white():
    rgba = np.zeros((20, 20, 4), np.uint8)
    rgba[5:8, :, 3] = 255
    assert np.array_equal(read_image(encode(rgba))[..., 0] == 0, rgba[..., 3] > 0)
    assert not read_image(np.zeros((20, 20, 4), np.uint8)).any()


def test_a_colour_of_the_palette_may_be_transparent(tree, grey):
    palette = Image.fromarray(tree.astype(np.uint8), "P")
    palette.putpalette([255] * 6)  # both white
    assert np.array_equal(read_image(encode(palette, transparency=0))[..., 0], grey)


def test_phone_photograph_stands_upright(colours):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees to the right
    assert np.array_equal(read_image(encode(colours, "PNG", exif=exif)), np.rot90(colours, -1))
    photograph = Image.fromarray(colours).resize((4032, 3024))
    assert read_image(encode(photograph, "JPEG", exif=exif)).shape == (4032, 3024, 3)


def test_animation_gives_its_first_frame(grey):
    frames = [Image.fromarray(grey), Image.fromarray(255 - grey)]
    animation = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.array_equal(read_image(animation)[..., 0], grey)


# --- what cannot be read -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (b"", "empty"),
        (b"hello, I am a text file", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", "not an image"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(40), "HEIC"),
        (png_header(20_000, 20_000), "too large"),
        (png_header(12_000, 8_000), "12000 x 8000.*too large.*64 megapixels"),
        (png_header(100, 100), "damaged"),
        (png_header(512, 512)[:20], "damaged|not an image"),
        (np.zeros((1, 1), np.uint8), "1 x 1"),
        (np.zeros((15, 400), np.uint8), "at least 16"),
        (np.zeros(300, np.uint8), "height, width"),
        (np.zeros((32, 32, 5), np.uint8), "4 channels"),
        (np.full((32, 32), "a"), "numbers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.filterwarnings("error")
def test_bad_input_is_answered_in_one_sentence(source, sentence):
    for read in (read_image, read_mask, read_fundus):
        with pytest.raises(ValueError, match=sentence) as error:
            read(source)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP"])
def test_half_a_file_is_no_image(fundus_photograph, kind):
    whole = encode(fundus_photograph(0), kind)
    with pytest.raises(ValueError, match="damaged|not an image"):
        read_image(whole[: len(whole) // 2])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM"])
def test_scrambled_files_are_read_or_refused(kind, capfd):
    random = np.random.default_rng(0)
    whole = np.frombuffer(encode(random.integers(0, 256, (20, 24, 3), np.uint8), kind), np.uint8)
    for attempt in range(40):
        scrambled = whole.copy()
        scrambled[random.integers(0, min(len(whole), 120) if attempt % 2 else len(whole), 5)] = random.integers(0, 256, 5)
        for read in (read_image, read_mask, read_fundus):
            try:
                read(scrambled.tobytes())
            except ValueError as error:
                assert re.search("; |at least", str(error))  # says what would do
    assert capfd.readouterr().err == ""


def test_size_is_refused_before_anything_is_decoded(monkeypatch):
    def decode(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    for size in ((20_000, 20_000), (10_000, 10_000), (9_000, 9_000)):  # above Pillow's error, above its warning, above ours
        with pytest.raises(ValueError, match="too large"):
            read_image(png_header(*size))


def test_no_sentence_shows_a_path(tmp_path):
    bad = tmp_path / "secret.png"
    bad.write_bytes(b"nonsense")
    for path in (bad, tmp_path / "secret-missing.png", tmp_path):
        with pytest.raises(ValueError) as error:
            read_image(path)
        assert "secret" not in str(error.value)
        assert str(tmp_path) not in str(error.value)
        assert error.value.__cause__ is None
        assert error.value.__suppress_context__


# --- vessel maps ---------------------------------------------------------------------------------------------------------------------


def coloured(tree: np.ndarray, ground: tuple[int, ...], vessel: tuple[int, ...]) -> np.ndarray:
    return np.where(tree[..., None], np.uint8(vessel), np.uint8(ground))


@pytest.mark.parametrize(
    ("ground", "vessel"),
    [
        ((0, 0, 0), (255, 255, 255)),
        ((255, 255, 255), (0, 0, 0)),  # inverted
        ((0, 0, 0), (255, 0, 0)),
        ((0, 0, 0), (0, 0, 160)),
        ((250, 245, 230), (150, 20, 30)),  # red pen on paper
        ((0, 80, 0), (80, 0, 0)),
        ((0, 0, 0), (1, 1, 1)),  # a label map
        ((0, 0, 0, 0), (255, 255, 255, 255)),  # strokes on a transparent ground
        ((0, 0, 0, 0), (255, 0, 0, 255)),
        ((0, 0, 0, 0), (0, 0, 0, 255)),
        ((255, 255, 255, 0), (20, 20, 40, 255)),
    ],
)
def test_map_in_any_colours_is_read_exactly(tree, ground, vessel):
    mask = read_mask(encode(coloured(tree, ground, vessel)))
    assert mask.shape == (1, 1, SIZE, SIZE)
    assert mask.dtype == torch.float32
    assert np.array_equal(mask[0, 0].numpy(), tree)


def test_arteries_and_veins_in_two_colours_are_both_vessels(tree):
    map_ = coloured(tree, (0, 0, 0), (255, 0, 0))
    map_[:, 256:] = coloured(tree[:, 256:], (0, 0, 0), (0, 0, 255))
    assert np.array_equal(read_mask(map_)[0, 0].numpy(), tree)


@pytest.mark.parametrize("quality", [5, 20, 50, 90])
@pytest.mark.parametrize("inverted", [False, True])
def test_jpeg_blurred_map(grey, tree, quality, inverted):
    mask = read_mask(encode(255 - grey if inverted else grey, "JPEG", quality=quality))
    assert dice(mask, tree) > 0.96
    if quality >= 50:  # the noise around the vessels is no vessel
        assert not mask[0, 0].numpy()[~ndimage.binary_dilation(tree)].any()


def test_soft_and_noisy_maps(grey, tree):
    soft = Image.fromarray(grey).filter(ImageFilter.GaussianBlur(1))
    assert dice(read_mask(soft), tree) > 0.9
    noise = np.random.default_rng(0).normal(0, 10, grey.shape)
    assert dice(read_mask((grey + noise).clip(0, 255).astype(np.uint8)), tree) > 0.99


@pytest.mark.parametrize("quality", [None, 30])
def test_dark_vessels_on_a_lit_disc(tree, quality):
    y, x = np.mgrid[:SIZE, :SIZE]
    disc = np.hypot(y - 256, x - 256) < 254
    map_ = (disc & ~tree).astype(np.uint8) * 255
    mask = read_mask(encode(map_, "JPEG", quality=quality) if quality else map_)
    assert dice(mask, tree) > 0.98


def test_aspect_is_kept_by_padding(vessel_tree):
    wide = vessel_tree(2)[128:384]
    mask = read_mask(wide)[0, 0].numpy()
    assert np.array_equal(mask[128:384], wide)
    assert not mask[:128].any()
    assert not mask[384:].any()
    tall = read_mask(wide.T)[0, 0].numpy()
    assert np.array_equal(tall, mask.T)


@pytest.mark.parametrize("angle", [0, 3, 30, 45, 77, 90])
def test_thin_lines_of_a_large_drawing_stay_whole(angle):
    drawing = Image.new("L", (4000, 4000))
    direction = np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
    start, end = 2000.5 - 1900 * direction, 2000.5 + 1900 * direction
    ImageDraw.Draw(drawing).line([*start, *end], fill=255, width=1)
    mask = read_mask(drawing)
    assert parts(mask) == 1
    ys, xs = np.nonzero(mask[0, 0].numpy())
    assert np.hypot(np.ptp(ys), np.ptp(xs)) > 0.98 * 3800 * SIZE / 4000
    assert mask.sum() < 1.1 * SIZE  # and thin


def test_wide_vessels_of_a_large_drawing_keep_their_calibre():
    drawing = np.zeros((4096, 4096), bool)
    drawing[2000:2080, 100:4000] = True  # 10 px at 512
    mask = read_mask(drawing)[0, 0].numpy()
    assert mask[:, 100:400].sum(0).max() <= 11
    assert mask[:, 100:400].sum(0).min() >= 9


@pytest.mark.parametrize("size", [100, 256, 400, 600, 1500])
def test_map_of_another_size_is_the_same_tree(tree, grey, size):
    resized = np.asarray(Image.fromarray(grey).resize((size, size), Image.Resampling.BOX if size < SIZE else Image.Resampling.BICUBIC))
    mask = read_mask(resized)
    assert mask.shape == (1, 1, SIZE, SIZE)
    near = ndimage.binary_dilation(tree, iterations=max(2, 2 * SIZE // size))
    assert mask[0, 0].numpy()[~near].sum() < 0.01 * mask.sum()
    if size >= 256:
        assert dice(mask, tree) > 0.75


@pytest.mark.parametrize("size", [64, 128, 200])
def test_diagonal_line_of_a_small_map_stays_whole(size):
    assert parts(read_mask(np.eye(size, dtype=bool))) == 1


def test_ribbon_of_extreme_aspect_is_no_bomb():
    ribbon = np.zeros((16, 200_000), bool)
    ribbon[8] = True
    assert parts(read_mask(ribbon)) == 1
    assert read_fundus(ribbon).shape == (1, 3, SIZE, SIZE)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (np.zeros((600, 800, 3), np.uint8), "all black"),
        (np.zeros((64, 64, 4), np.uint8), "all black"),  # an untouched transparent canvas
        (np.dstack((np.zeros((64, 64, 3), np.uint8), np.full((64, 64), 255, np.uint8))), "all black"),
        (np.full((64, 64), 255, np.uint8), "all white"),
        (np.full((64, 64, 3), (0, 160, 0), np.uint8), "all one colour"),
        (np.random.default_rng(0).integers(0, 6, (64, 64), np.uint8), "almost all one colour"),
        (np.hypot(*(np.mgrid[:512, :512] - 255.5)) < 255, "filled shape"),  # a field of view mask
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_map_without_vessels_is_refused(source, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_mask(source)


def test_photograph_is_no_vessel_map(fundus_photograph):
    fundus = fundus_photograph(3)
    framed = np.pad(fundus, ((0, 0), (300, 300), (0, 0)))
    grey = fundus[..., 1]
    for photograph in (fundus, framed, grey, data.retina(), data.astronaut(), data.coffee(), data.chelsea(), data.rocket(), data.camera()):
        for source in (photograph, encode(photograph, "JPEG")):
            with pytest.raises(ValueError, match="looks like a photograph; upload a black and white vessel map"):
                read_mask(source)


@pytest.mark.filterwarnings("error")
def test_photograph_without_a_pixel_of_its_median_colour():
    stripes = np.zeros((60, 60, 3), np.uint8)
    stripes[::3], stripes[1::3], stripes[2::3] = (0, 100, 250), (100, 250, 0), (250, 0, 100)  # the median is (100, 100, 100)
    with pytest.raises(ValueError, match="photograph"):
        read_mask(stripes)


# --- fundus photographs --------------------------------------------------------------------------------------------------------------


def test_fundus_is_cropped_as_the_training_images_are(tiny_drive):
    from train.data import read_drive

    drive = read_drive(tiny_drive, "training")
    for path, expected in zip(sorted((tiny_drive / "training/images").iterdir()), drive.fundus, strict=True):
        fundus = read_fundus(path)
        assert fundus.shape == (1, 3, SIZE, SIZE)
        # the crops differ by a few pixels, since the photograph fades towards its rim: blurred, they agree
        assert torch.nn.functional.avg_pool2d(fundus[0] - expected, 16).abs().mean() < 0.02


def test_fundus_off_centre_in_a_wide_frame_is_found(fundus_photograph):
    fundus = fundus_photograph(5)
    frame = np.zeros((700, 1100, 3), np.uint8)
    frame[100:612, 70:582] = fundus
    assert (read_fundus(frame) - read_fundus(fundus)).abs().mean() < 0.01


def test_a_caption_and_a_hot_pixel_are_no_part_of_the_field_of_view(fundus_photograph):
    frame = np.zeros((700, 1100, 3), np.uint8)
    frame[100:612, 70:582] = fundus_photograph(5)
    captioned = frame.copy()
    captioned[680:690, 1050:1065] = captioned[3, 500] = 255
    assert (read_fundus(captioned) - read_fundus(frame)).abs().mean() < 0.01


@pytest.mark.parametrize(
    "lit",
    [
        [(slice(250, 350), slice(20, 580))],  # a bar
        [(slice(250, 350), slice(250, 350))],  # a spot
        [(slice(100, 500), slice(100, 500)), (slice(540, 600), slice(540, 600))],  # not dark in each corner
    ],
)
def test_what_is_no_field_of_view_is_not_cut_out(lit):
    frame = np.zeros((600, 600, 3), np.uint8)
    for part in lit:
        frame[part] = 180
    whole = Image.fromarray(frame).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    assert np.array_equal(to_array(read_fundus(frame)), np.asarray(whole))


def test_generated_image_is_read_back_as_it_is():
    """A disc one pixel short of the frame, which is what the pipeline makes, loses nothing."""
    y, x = np.mgrid[:SIZE, :SIZE]
    disc = np.hypot(y - 255.5, x - 255.5) <= 255
    image = np.where(disc[..., None], np.uint8([180, 90, 40]), np.uint8(0))
    assert np.array_equal(to_array(read_fundus(image)), image)


def test_image_without_a_field_of_view_is_padded(colours):
    fundus = to_array(read_fundus(np.full((300, 600, 3), 120, np.uint8)))
    assert (fundus[128:384] == 120).all()
    assert (fundus[:128] == 0).all()
    assert read_fundus(np.zeros((64, 64), np.uint8)).max() == 0  # all black: nothing to find, nothing to fail on
    assert read_fundus(colours).shape == (1, 3, SIZE, SIZE)


# --- tensors and files out -----------------------------------------------------------------------------------------------------------


def test_array_to_tensor_and_back(colours, grey):
    for array in (colours, grey):
        tensor = to_tensor(array)
        assert tensor.shape == (1, 3 if array.ndim == 3 else 1, *array.shape[:2])
        assert 0 <= tensor.min() <= tensor.max() <= 1
        assert np.array_equal(to_array(tensor), array)
        assert np.array_equal(to_array(tensor[0]), array)
        assert np.array_equal(to_array((tensor[0] * 255).round().byte()), array)  # as torchvision reads it
    assert to_array(torch.tensor([[[-0.01, 0.499 / 255, 0.501 / 255, 1.01]]])).tolist() == [[0, 0, 1, 255]]
    assert to_array(torch.tensor([[[False, True]]])).tolist() == [[0, 255]]
    assert np.array_equal(to_array(grey[..., None]), grey)  # as many loaders give masks


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(2, 3, 8, 8),
        torch.zeros(8, 8),
        torch.zeros(1, 2, 8, 8),
        np.zeros((8, 8)),
        torch.full((1, 8, 8), 255.0),
        torch.full((1, 8, 8), torch.nan),
        torch.zeros(1, 8, 8).long(),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 5), np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
    ],
)
def test_shapes_that_are_no_image_are_refused(image):
    with pytest.raises(ValueError, match="expected"):
        to_array(image)


@pytest.mark.parametrize("image", [torch.zeros(1, 0, 8), torch.zeros(1, 3, 8, 0)])
def test_an_image_without_a_pixel_is_refused(image):
    with pytest.raises(ValueError, match="there is no pixel"):
        to_array(image)


def test_array_of_another_type_is_no_image_tensor():
    with pytest.raises(ValueError, match="uint8"):
        to_tensor(np.zeros((8, 8)))


def test_written_png_says_what_it_is(colours, tmp_path):
    write_image(tmp_path / "a.png", to_tensor(colours), seed=7, place="Zürich, 網膜")
    image = Image.open(tmp_path / "a.png")
    assert image.text["Comment"] == COMMENT == "Synthetic image. Not for diagnosis."
    assert image.text["Software"] == f"retsynth {__version__}"
    assert image.text["seed"] == "7"
    assert image.text["place"] == "Zürich, 網膜"
    assert np.array_equal(np.asarray(image), colours)
    assert (tmp_path / "a.png").read_bytes() == png_bytes(colours, seed=7, place="Zürich, 網膜")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".gif"])
def test_metadata_is_read_back_and_the_pixels_are_the_same(colours, tmp_path, suffix):
    colours = colours[..., 0] if suffix == ".gif" else colours
    write_image(tmp_path / f"a{suffix}", colours, seed=7, place="Zürich, 網膜")
    expected = {"Comment": COMMENT, "Software": f"retsynth {__version__}", "seed": "7", "place": "Zürich, 網膜"}
    assert expected.items() <= read_metadata(tmp_path / f"a{suffix}").items()
    assert np.array_equal(np.asarray(Image.open(tmp_path / f"a{suffix}")), colours)
    Image.fromarray(colours).save(tmp_path / f"b{suffix}")
    assert "seed" not in read_metadata(tmp_path / f"b{suffix}")
    (tmp_path / "c").write_text("no image")
    assert read_metadata(tmp_path / "c") == {}


@pytest.mark.parametrize("suffix", [".tif", ".png", ".gif"])
def test_a_file_as_png_has_its_pixels_and_says_what_it_said(colours, tmp_path, suffix):
    colours = colours[..., 0] if suffix == ".gif" else colours
    write_image(tmp_path / f"ours{suffix}", colours, seed=7, place="Zürich, 網膜")
    Image.fromarray(colours).save(tmp_path / f"photograph{suffix}")
    for name in ("ours", "photograph"):
        image = Image.open(io.BytesIO(as_png(tmp_path / f"{name}{suffix}")))
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image), read_image(colours))
        assert image.text == read_metadata(tmp_path / f"{name}{suffix}")
    assert "Comment" not in image.text, "nothing says that a photograph is synthetic"


def test_metadata_are_strings_whatever_else_a_file_tells(colours, tmp_path):
    text = PngInfo()
    text.add_text("seed", "7")
    Image.fromarray(colours).save(tmp_path / "a.png", pnginfo=text, dpi=(300, 300), icc_profile=b"profile")
    assert {"dpi", "icc_profile"} <= Image.open(tmp_path / "a.png").info.keys()
    Image.fromarray(colours).save(tmp_path / "a.tif", description='{"seed": "7", "dpi": 300, "icc_profile": null}')
    for name in ("a.png", "a.tif"):
        assert read_metadata(tmp_path / name) == {"seed": "7"}
    for description in ("[7]", '"seed"', "seed 7"):
        Image.fromarray(colours).save(tmp_path / "a.tif", description=description)
        assert read_metadata(tmp_path / "a.tif") == {}


@pytest.mark.filterwarnings("error")
def test_metadata_of_a_damaged_or_hostile_file_is_none(colours, tmp_path):
    for suffix in (".png", ".tif"):
        write_image(tmp_path / f"a{suffix}", colours, seed=7)
        whole = (tmp_path / f"a{suffix}").read_bytes()
        for size in range(0, len(whole), len(whole) // 60):
            (tmp_path / f"b{suffix}").write_bytes(whole[:size])
            assert read_metadata(tmp_path / f"b{suffix}").get("seed") in (None, "7")
    huge = bytearray(png_bytes(colours))
    huge[16:24] = struct.pack(">II", 20000, 20000)
    huge[29:33] = struct.pack(">I", zlib.crc32(huge[12:29]))
    (tmp_path / "huge.png").write_bytes(huge)
    assert read_metadata(tmp_path / "huge.png") == {}
    with pytest.raises(FileNotFoundError):
        read_metadata(tmp_path / "missing.png")


def test_a_long_name_and_a_large_suffix_can_be_written(grey, tmp_path):
    for name in ("眼" * 83 + ".png", "a.PNG"):
        write_image(tmp_path / name, grey)
        assert np.array_equal(np.asarray(Image.open(tmp_path / name)), grey)


def test_an_image_comes_through_a_pipe(grey):
    read, write = os.pipe()
    with ThreadPoolExecutor(1) as pool, os.fdopen(write, "wb") as end:
        image = pool.submit(read_image, f"/dev/fd/{read}")
        end.write(png_bytes(grey))
        end.close()
        assert np.array_equal(image.result()[..., 0], grey)
    os.close(read)


def test_one_channel_of_a_photograph_is_no_map():
    """Its field of view is as even as a map's ground, and what differs from that is the optic disc."""
    y, x = np.mgrid[:512, :512]
    channel = np.where(np.hypot(y - 256, x - 256) < 250, 90, 0).astype(np.uint8)
    channel[np.hypot(y - 230, x - 420) < 36] = 200
    for source in (channel, encode(channel, "JPEG", quality=90)):
        with pytest.raises(ValueError, match="looks like a photograph"):
            read_mask(source)


def test_gif_holds_a_grey_image_and_no_other(colours, grey, tmp_path):
    write_image(tmp_path / "a.gif", grey, seed=7)
    with Image.open(tmp_path / "a.gif") as image:
        assert np.array_equal(np.asarray(image.convert("L")), grey)
        assert json.loads(image.info["comment"])["seed"] == "7"
    for image, name in ((colours, "b.gif"), (grey, "b.jpg")):
        with pytest.raises(ValueError, match="take .png or .tif"):
            write_image(tmp_path / name, image)


def test_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write_bytes(path, b"old")

    def fail(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", fail)
        with pytest.raises(OSError, match="disk full"):
            write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_overlay_marks_the_vessels_and_nothing_else(fundus_photograph, tree, grey):
    fundus = fundus_photograph(1)
    both = overlay(fundus, grey)
    assert np.array_equal(both, overlay(to_tensor(fundus), to_tensor(grey)))
    assert np.array_equal(both[~tree], fundus[~tree])
    assert (both[tree][:, 2].astype(int) > fundus[tree][:, 2]).all()
    with pytest.raises(ValueError, match="one size"):
        overlay(fundus, grey[:100])


def test_an_opaque_overlay_is_cyan_on_the_vessels(fundus_photograph, tree, grey):
    assert (overlay(fundus_photograph(1), grey, opacity=1)[tree] == (0, 255, 255)).all()
