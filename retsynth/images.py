"""Bytes from outside -> checked arrays -> tensors, and back; nowhere else.

Whatever a person may hand over (a phone photograph, a scan, a drawing in any colour, half a file) is either read as they would expect,
or answered with a ValueError whose one sentence says what is wrong and what would do. No sentence contains a path.
"""

import io
import json
import logging
import os
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.morphology import convex_hull_image, skeletonize
from torch import Tensor

from retsynth import __version__

SIZE = 512  # px, the side of every map and fundus image inside the pipeline
MIN_SIDE = 16  # px, below which nothing can be recognised
MAX_PIXELS = 64_000_000  # a phone's 50 megapixels pass; decoded they are 200 MB
EVEN = 0.65  # vessel maps' grounds, blurred and compressed ones too, measure 0.8 and more, photographs' 0.55 and less
# Pillow would also try formats that run other programs (EPS), and dozens that nobody sends
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM")  # "JPEG" opens the MPO files of phones as well
COMMENT = "Synthetic image. Not for diagnosis."
ENLARGED = "Enlarged by a network, which adds detail that was not seen. Not for diagnosis."

# where a program sets up no logging, Pillow's remarks on odd files would land on stderr
logging.getLogger("PIL").addHandler(logging.NullHandler())

Source = str | os.PathLike | bytes | Image.Image | np.ndarray


# --- reading -----------------------------------------------------------------------------------------------------------------------


def read_image(source: Source, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a path, a file's bytes, a Pillow image or an array as RGB: (H, W, 3) uint8.

    EXIF rotation is applied, the first frame of an animation is taken, transparency becomes black, or white behind
    what is drawn in black, and more than 8 bits are scaled to 8.
    Raises ValueError, with one sentence and no path, for what is no image, damaged, smaller than 16 px or larger than `max_pixels`.
    """
    rgba = _read_rgba(source, max_pixels)
    rgb = _flatten(rgba)
    return rgb + (255 - rgba[..., 3:]) if _is_dark_on_transparent(rgb, rgba) else rgb


def read_mask(source: Source) -> Tensor:
    """Read a vessel map drawn in any colour on any plain ground: (1, 1, 512, 512) of 0. and 1., vessels 1.

    The ground is the map's commonest colour, whatever differs from it is vessel (greys by Otsu's threshold). The aspect is kept by padding
    with 0, and vessels thinner than a pixel at 512 px stay whole. A map whose field of view is set off by a dark surround is read
    inside the field of view. Raises ValueError as `read_image` does, and for an empty map or a photograph.
    """
    rgba = _read_rgba(source, MAX_PIXELS)
    rgb = _flatten(rgba)
    if _is_dark_on_transparent(rgb, rgba):
        rgb = rgba[..., 3:].repeat(3, axis=2)  # the drawing is in the alpha channel
    everywhere = np.ones(rgb.shape[:2], bool)
    vessels, evenness = _differing_from_ground(rgb, everywhere)
    if evenness >= EVEN and _radius(vessels) > SIZE * 3 / 64:  # no vessel is that wide: it is a disc and its surround that differ
        brighter = vessels if rgb[vessels].mean() > rgb[~vessels].mean() else ~vessels
        vessels, evenness = _differing_from_ground(rgb, _inside_of(brighter))
        if _radius(vessels) > SIZE / 32:  # an optic disc, in one channel of a photograph for instance
            evenness = 0
    if evenness < EVEN:
        raise ValueError("this looks like a photograph; upload a black and white vessel map")
    return torch.from_numpy(_fit_map(vessels)).float()[None, None]


def read_fundus(source: Source) -> Tensor:
    """Read a photograph as the square around its field of view, or padded with black to a square: (1, 3, 512, 512) in [0, 1].

    Raises ValueError as `read_image` does.
    """
    rgb = read_image(source)
    image = Image.fromarray(rgb)
    box = _field_of_view(rgb)
    if box:
        return to_tensor(np.asarray(image.crop(box).resize((SIZE, SIZE), Image.Resampling.BICUBIC)))
    return to_tensor(_pad_to_square(np.asarray(image.resize(_fitting(image.width, image.height), Image.Resampling.BICUBIC))))


def to_tensor(array: np.ndarray) -> Tensor:
    """uint8 (H, W) or (H, W, C) -> float32 (1, C, H, W) in [0, 1]."""
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise ValueError(f"expected uint8 (H, W) or (H, W, C), got {array.dtype} {array.shape}")
    channels_last = torch.from_numpy(array.copy()).reshape(*array.shape[:2], -1)
    return channels_last.permute(2, 0, 1)[None].contiguous().float() / 255


# --- writing -----------------------------------------------------------------------------------------------------------------------


def to_array(image: Tensor | np.ndarray) -> np.ndarray:
    """Tensor (1, C, H, W) or (C, H, W), C 1 or 3, floats in [0, 1], bool or uint8 -> uint8 (H, W) or (H, W, 3). An array of uint8 (H, W),
    (H, W, 1) or (H, W, 3) passes. Raises ValueError for anything else."""
    got = f"{type(image).__name__} {getattr(image, 'dtype', '')} {tuple(getattr(image, 'shape', ()))}"
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size and (image.ndim == 2 or image.shape[2:] in ((1,), (3,))):
        return image[..., 0] if image.shape[2:] == (1,) else image
    if not isinstance(image, Tensor) or image.ndim not in (3, 4) or (image.ndim == 4 and len(image) != 1) or image.shape[-3] not in (1, 3):
        raise ValueError(f"expected a tensor (1, C, H, W) or (C, H, W) with C 1 or 3, or an array of uint8 (H, W[, 1 or 3]), got {got}")
    if not image.numel():
        raise ValueError(f"there is no pixel in the image, {got}")
    chw = image.detach().reshape(image.shape[-3:])
    if chw.dtype != torch.uint8:
        low, high = (float(end) for end in chw.aminmax())
        if not (chw.is_floating_point() or chw.dtype == torch.bool) or not -0.01 <= low <= high <= 1.01:
            raise ValueError(f"expected floats from 0 to 1, bool or uint8, got {chw.dtype} from {low:g} to {high:g}: divide by 255 perhaps")
        chw = chw.float().clamp(0, 1).mul_(255).round_().byte()  # in place: large images are large
    hwc = chw.permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(hwc[..., 0] if hwc.shape[2] == 1 else hwc)


def png_bytes(image: Tensor | np.ndarray, **metadata: object) -> bytes:
    """A PNG file of `image` (as `to_array` takes it). Its text chunks say which version made it, `metadata`, and, where that has no Comment
    of its own, that it is synthetic."""
    return _encoded(image, ".png", metadata)


def write_image(path: str | os.PathLike, image: Tensor | np.ndarray, **metadata: object) -> None:
    """Write `image` losslessly as PNG, TIFF or, in grey, GIF, by the suffix of `path`, with the metadata of `png_bytes`: in TIFF's
    ImageDescription and GIF's comment as JSON. Atomically: there is the whole file or none. Raises ValueError for another suffix."""
    write_bytes(path, _encoded(image, Path(path).suffix.lower(), metadata))


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
    """What `write_image` wrote beside the pixels; {} for a file that is no image, or has nothing of the kind."""
    with Path(path).open("rb") as file, warnings.catch_warnings():  # as in `_read_rgba`
        warnings.simplefilter("ignore")
        try:
            image = _open(file, MAX_PIXELS)
            if image.format == "PNG":
                found = image.info
            elif image.format == "GIF":
                found = json.loads(image.info["comment"])
            else:
                found = json.loads(image.getexif()[ExifTags.Base.ImageDescription])
            return {key: value for key, value in found.items() if isinstance(value, str)}  # others' files tell of their resolution as well
        except Exception:  # hostile headers, as in `_open`, and notes that are none of ours
            return {}


def as_png(path: str | os.PathLike) -> bytes:
    """An image file as PNG: the pixels that `read_image` gives, the metadata that `write_image` wrote to it, and no other.

    Raises ValueError as `read_image` does.
    """
    return _png(Image.fromarray(read_image(path)), read_metadata(path))


def enlargement_notes(path: str | os.PathLike) -> dict[str, str]:
    """The metadata of an enlargement of the file: that it is one, and what the file says of itself, where `write_image` wrote it."""
    notes = read_metadata(path)
    return notes | {"Comment": f"{COMMENT} {ENLARGED}"} if notes.get("Comment", "").startswith(COMMENT) else {"Comment": ENLARGED}


def is_cut_off(path: str | os.PathLike) -> bool:
    """Whether the end of a PNG or GIF file is missing, as of one that was not copied to its end."""
    end = {".png": b"IEND\xaeB`\x82", ".gif": b";"}.get(Path(path).suffix.lower(), b"")
    with Path(path).open("rb") as file:
        file.seek(-min(len(end), file.seek(0, os.SEEK_END)), os.SEEK_END)
        return file.read() != end


def _encoded(image: Tensor | np.ndarray, suffix: str, metadata: dict[str, object]) -> bytes:
    notes = {key: str(value) for key, value in {"Comment": COMMENT, "Software": f"retsynth {__version__}", **metadata}.items()}
    picture, file = Image.fromarray(to_array(image)), io.BytesIO()
    if suffix == ".png":
        return _png(picture, notes)
    if suffix in (".tif", ".tiff"):
        picture.save(file, "TIFF", compression="tiff_adobe_deflate", description=json.dumps(notes))
    elif suffix == ".gif" and picture.mode == "L":  # which has no more than 256 colours
        # not optimised: that would number the grey values anew, and who reads DRIVE's files takes the numbers for the values
        picture.save(file, "GIF", optimize=False, comment=json.dumps(notes))
    else:
        raise ValueError(f"an image of mode {picture.mode} is not written as {suffix!r}; take .png or .tif")
    return file.getvalue()


def _png(picture: Image.Image, notes: dict[str, str]) -> bytes:
    text, file = PngInfo(), io.BytesIO()
    for key, value in notes.items():
        text.add_text(key, value)
    picture.save(file, "PNG", pnginfo=text, compress_level=4)  # zlib's 6 takes 2.4 times as long and saves 0 to 4 % of a fundus image
    return file.getvalue()


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Write a file atomically: a reader, or a kill at any moment, finds the old file or the new one."""
    path = Path(path)
    partial = path.with_name(f".{os.getpid()}-{threading.get_ident()}.partial")  # others may write the same; a long name leaves no room
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:  # of the file that was asked for, not of one that nobody knows
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def overlay(fundus: Tensor | np.ndarray, vessels: Tensor | np.ndarray, opacity: float = 0.6) -> np.ndarray:
    """The vessel map laid over its fundus image in cyan: both as `to_array` takes them, same H and W -> uint8 (H, W, 3)."""
    ground, drawn = to_array(fundus), to_array(vessels)
    if ground.shape[:2] != drawn.shape[:2]:
        raise ValueError(f"the image has {ground.shape[:2]} pixels and the vessel map {drawn.shape[:2]}: give both at one size")
    weight = opacity * drawn.reshape(*drawn.shape[:2], -1)[..., :1] / 255  # (H, W, 1)
    return (ground * (1 - weight) + np.array([0, 255, 255]) * weight).round().astype(np.uint8)


# --- decoding ----------------------------------------------------------------------------------------------------------------------


def _read_rgba(source: Source, max_pixels: int) -> np.ndarray:
    """Any source -> uint8 (H, W, 3), or (H, W, 4) where it has transparency."""
    if source is None:
        raise ValueError("there is no image; give a file")
    if isinstance(source, str | os.PathLike) and (Path(source).is_char_device() or Path(source).is_block_device()):
        raise ValueError("this is a device, not an image")  # reading it might never end
    with warnings.catch_warnings():  # Pillow warns of large images and odd metadata; what matters is checked here
        warnings.simplefilter("ignore")
        if isinstance(source, np.ndarray):
            _check_size(source.shape[1::-1] if source.ndim in (2, 3) else (), max_pixels)
            return _channels(_to_8_bit(source))
        if isinstance(source, Image.Image):
            return _decode(source, max_pixels)
        try:
            with io.BytesIO(source) if isinstance(source, bytes | bytearray) else Path(source).open("rb") as file:
                return _decode(_open(file if file.seekable() else io.BytesIO(file.read()), max_pixels), max_pixels)
        except FileNotFoundError:
            raise ValueError("there is no such file") from None
        except IsADirectoryError:
            raise ValueError("this is a folder, not an image") from None
        except OSError as error:
            raise ValueError(f"the file cannot be read: {error.strerror}") from None


def _open(file: BinaryIO, max_pixels: int) -> Image.Image:
    """The header of an image file; no pixel is decoded yet."""
    head = file.read(16)
    if not head:
        raise ValueError("the file is empty; choose an image file")
    try:
        return Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError:
        raise ValueError(_too_large("the image", max_pixels)) from None
    except UnidentifiedImageError:
        if head[4:8] == b"ftyp":
            raise ValueError("HEIC and AVIF photographs cannot be read; save it as JPEG or PNG") from None
        raise ValueError("this is not an image that can be read; use PNG, JPEG, TIFF, WebP, BMP or GIF") from None
    except Exception:  # decoders answer hostile headers with all sorts of exceptions
        raise ValueError("the image file is damaged; save it again as PNG or JPEG") from None


def _decode(image: Image.Image, max_pixels: int) -> np.ndarray:
    _check_size(image.size, max_pixels)
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            image = ImageOps.exif_transpose(image)
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            return _channels(_to_8_bit(np.asarray(image)))
        transparent = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
        mode = "RGBA" if transparent else "RGB"
        return np.asarray(image if image.mode == mode else image.convert(mode))
    except Exception:  # as above
        raise ValueError("the image file is damaged or cut off; save it again as PNG or JPEG") from None


def _check_size(size: tuple[int, ...], max_pixels: int) -> None:
    if len(size) != 2:
        raise ValueError("expected an image of height, width and at most 4 channels")
    width, height = size
    if min(width, height) < MIN_SIDE:
        raise ValueError(f"the image has {width} x {height} pixels; it takes at least {MIN_SIDE} x {MIN_SIDE}")
    if width * height > max_pixels:
        raise ValueError(_too_large(f"the image has {width} x {height} pixels, which", max_pixels))


def _too_large(subject: str, max_pixels: int) -> str:
    return f"{subject} is too large; shrink it to {max_pixels / 1e6:g} megapixels or fewer"


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    """Numbers of any type -> uint8. White is taken to be the smallest of 1 (fractions), 8, 12 and 16 bits that holds the largest value.

    Twelve bits are what medical cameras store in 16-bit files, and 8-bit values often arrive in wider types.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    if not (np.issubdtype(values.dtype, np.integer) or np.issubdtype(values.dtype, np.floating)):
        raise ValueError(f"expected an image of numbers, got {values.dtype}")
    fractions = (1,) if np.issubdtype(values.dtype, np.floating) else ()
    values = np.nan_to_num(values.astype(np.float32), nan=0, posinf=0, neginf=0).clip(min=0)
    peak = values.max()
    # resampled fractions may lie a little over 1
    white = next((white for white in (*fractions, 255, 4095, 65535) if peak <= (1.01 if white == 1 else white)), peak)
    return (values * (255 / white)).round().clip(max=255).astype(np.uint8)


def _channels(array: np.ndarray) -> np.ndarray:
    """uint8 (H, W) or (H, W, 1 to 4) -> (H, W, 3 or 4): grey becomes RGB, an even last channel is alpha."""
    array = array.reshape(*array.shape[:2], -1)
    if array.shape[2] > 4 or array.shape[2] == 0:
        raise ValueError(f"expected at most 4 channels, got {array.shape[2]}")
    if array.shape[2] < 3:
        array = array[..., [0, 0, 0, 1][: 2 + array.shape[2]]]
    return array


def _is_dark_on_transparent(rgb: np.ndarray, rgba: np.ndarray) -> bool:
    """Whether an image is all but black strokes on nothing: `rgb` is what `_flatten` makes of `rgba`."""
    return rgba.shape[2] == 4 and rgb.max() < 64 and rgba[..., 3].min() < 255 and rgba[..., 3].any()


def _flatten(rgba: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3 or 4) -> (H, W, 3): transparent pixels become black, as they look on the map's black ground."""
    if rgba.shape[2] == 3:
        return rgba
    return (rgba[..., :3] * (rgba[..., 3:].astype(np.uint16)) // 255).astype(np.uint8)


# --- understanding -----------------------------------------------------------------------------------------------------------------


def _differing_from_ground(rgb: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, float]:
    """What differs from the commonest colour inside a region: (H, W, 3) uint8, (H, W) bool -> (H, W) bool, and how even the ground is.

    Vessels fill far less than half a map, so that the median colour is the ground's: black, paper, or anything else. The evenness is the
    share of the ground, at least half of the region, that has its very colour.
    """
    region = Image.fromarray(inside)
    counts = np.reshape(Image.fromarray(rgb).histogram(region), (3, 256))
    ground = np.array([np.searchsorted(count.cumsum(), count.sum() / 2) for count in counts], np.uint8)
    channels = [rgb[..., c] for c in range(3)]
    difference = np.maximum.reduce([np.maximum(c, g) - np.minimum(c, g) for c, g in zip(channels, ground, strict=True)])
    histogram = np.array(Image.fromarray(difference).histogram(region))
    histogram[0] += 1  # the ground itself: in colour noise no pixel need have its very colour
    levels = np.flatnonzero(histogram)
    if len(levels) == 1:
        colour = "black" if ground.max() < 64 else "white" if ground.min() > 191 else "one colour"
        if not inside.all():
            raise ValueError("the map shows a filled shape, there are no vessels in it; draw or upload white vessels on black")
        raise ValueError(f"the map is all {colour}, there are no vessels in it; draw or upload white vessels on black")
    if len(levels) > 2 and levels[-1] < 16:
        raise ValueError("the map is almost all one colour; draw or upload white vessels on black")
    otsu = threshold_otsu(hist=(histogram[levels], levels))
    above = histogram * (np.arange(256) > otsu)
    vessel = np.searchsorted(above.cumsum(), above.sum() / 2)  # the median difference of vessels
    evenness = histogram[: int(0.08 * vessel) + 1].sum() / max(histogram[: int(otsu) + 1].sum(), histogram.sum() / 2)
    return (difference > otsu) & inside, evenness


def _radius(region: np.ndarray) -> float:
    """The radius of the largest disc that fits in a region, (H, W) bool, in pixels of a map 512 px long."""
    coarse = _coarse(region)
    return ndimage.distance_transform_edt(np.pad(coarse, 1)).max() * SIZE / max(coarse.shape)


def _inside_of(disc: np.ndarray) -> np.ndarray:
    """The field of view around a lit disc with dark vessels: its convex hull, short of the blurred rim. (H, W) bool -> same."""
    hull = ndimage.binary_erosion(convex_hull_image(_coarse(disc)), iterations=2)
    return np.asarray(Image.fromarray(hull).resize(disc.shape[::-1], Image.Resampling.NEAREST))


def _coarse(region: np.ndarray) -> np.ndarray:
    """Every n-th pixel of a large region, about a thousand a side at most: enough for what is large, and quick."""
    step = max(1, max(region.shape) // SIZE)
    return region[::step, ::step]


def _fit_map(vessels: np.ndarray) -> np.ndarray:
    """(H, W) bool -> (512, 512) bool, aspect kept by padding. Every vessel stays connected, however thin it gets."""
    height, width = vessels.shape
    shrunk = max(height, width) > SIZE
    if max(height, width) != SIZE:
        # BOX counts each pixel once, so that nothing drawn falls between two pixels of the small map
        method = Image.Resampling.BOX if shrunk else Image.Resampling.BILINEAR
        covered = np.asarray(Image.fromarray(vessels.astype(np.uint8) * 255).resize(_fitting(width, height), method))
        touched = covered > (0 if shrunk else 100)  # diagonal neighbours, enlarged, meet at half height
        vessels = (covered > 127) | skeletonize(touched)  # the true calibre where there is one, a line of one pixel elsewhere
    return _pad_to_square(vessels)


def _fitting(width: int, height: int) -> tuple[int, int]:
    """The size at which an image just fits in 512 x 512 px, aspect kept."""
    scale = SIZE / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _pad_to_square(array: np.ndarray) -> np.ndarray:
    """(H, W[, C]), no side above 512 -> (512, 512[, C]), the image in the middle of zeros."""
    height, width = array.shape[:2]
    square = np.zeros((SIZE, SIZE, *array.shape[2:]), array.dtype)
    top, left = (SIZE - height) // 2, (SIZE - width) // 2
    square[top : top + height, left : left + width] = array
    return square


def _field_of_view(rgb: np.ndarray) -> tuple[int, int, int, int] | None:
    """The square around the lit disc of a fundus photograph, left, top, right, bottom, or None where no dark surround sets it off."""
    light = rgb.max(-1)
    height, width = light.shape
    edge = max(2, min(height, width) // 32)
    ends = (slice(edge), slice(-edge, None))
    corners = max(np.median(light[rows, columns]) for rows in ends for columns in ends)
    lit = np.percentile(light[::4, ::4], 95)
    if corners > 0.25 * lit:
        return None
    inside = light > corners + 0.15 * (lit - corners)
    # a row through the disc is lit for more than its first pixels; a stray caption or a hot pixel is not
    rows, columns = np.flatnonzero(inside.mean(1) > 0.02), np.flatnonzero(inside.mean(0) > 0.02)
    if not len(rows) or not len(columns):
        return None
    tall, wide = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    if max(tall, wide) > 1.6 * min(tall, wide) or max(tall, wide) < 0.4 * min(height, width):
        return None
    side = int(max(tall, wide)) + 2
    top, left = round(float(rows[0] + rows[-1] + 1 - side) / 2), round(float(columns[0] + columns[-1] + 1 - side) / 2)
    return left, top, left + side, top + side
