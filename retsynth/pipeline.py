"""From a seed or a drawing to a 1024 px fundus image: the five networks in a row.

Every image is made alone, whatever the batch it was asked for in, and all noise is drawn on the CPU: image i of a run depends on
(seed, i) and the weights, not on the batch size, the device count or the order. Another processor, or another number of threads, rounds
otherwise: a pixel in some ten thousand then differs by one of 255.
"""

import functools
import operator
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from retsynth import checkpoint
from retsynth.connect import connect
from retsynth.denoiser import Denoiser
from retsynth.edsr import EDSR
from retsynth.images import SIZE, to_array, to_tensor
from retsynth.pix2pix import CONTROLS, Pix2Pix, set_contrast
from retsynth.prior import FlowPrior
from retsynth.vae import ResidualVAE

TILE = 512  # of the small image, when upscaling large ones
EYES = ("any", "left", "right")  # where the optic disc lies in the image; the last two by their index in the prior


@dataclass(frozen=True)
class Sample:
    """N generated pairs of one run, float32 NCHW in [0, 1] on the CPU. Image i has the index `first` + i."""

    seed: int
    first: int
    style: Tensor  # (N, style_channels + 1)
    vessels: Tensor  # (N, 1, 512, 512) soft, as the VAE decodes them
    clean: Tensor  # (N, 1, 512, 512) denoised
    annotation: Tensor  # (N, 1, 512, 512) of 0 and 1
    fundus: Tensor  # (N, 3, 512, 512)
    large: Tensor | None  # (N, 3, 1024, 1024)

    def __len__(self) -> int:
        return len(self.fundus)


def _stage(method: Callable) -> Callable:
    """`method`, the same whatever a training loop around it has set: it keeps no gradients, and computes in float32."""

    @functools.wraps(method)
    def run(self: "Pipeline", *values: object, **named: object) -> Tensor:
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            return method(self, *values, **named)

    return run


class Pipeline:
    """The stages, each a method that takes and gives (N, C, H, W) in [0, 1], and `__call__`, which chains them.

    No gradient passes through them. What they give are ordinary tensors, which can be trained on. They raise ValueError where what they are
    given is no float tensor of that shape and range; a mask may be boolean as well.
    """

    def __init__(
        self, vae: ResidualVAE, prior: FlowPrior, denoiser: Denoiser, pix2pix: Pix2Pix, edsr: EDSR, device: torch.device | str = "cpu"
    ) -> None:
        if prior.config.z_channels != vae.config.z_channels:
            latents = f"{prior.config.z_channels} channels, the VAE decodes {vae.config.z_channels}"
            raise ValueError(f"the prior samples latents of {latents}: it has to be trained on this VAE's (train.prior --vae FILE)")
        self.device = torch.device(device)
        # channels_last is about twice as fast for inference on a CPU, and the layout of tensor cores on CUDA
        self.vae, self.prior, self.denoiser, self.pix2pix, self.edsr = (
            model.to(self.device, memory_format=torch.channels_last).eval() for model in (vae, prior, denoiser, pix2pix, edsr)
        )
        axis = torch.arange(SIZE, device="cpu") - (SIZE - 1) / 2
        self.fov = ((axis[:, None] ** 2 + axis**2).sqrt() <= SIZE / 2 - 1).float()[None, None]  # (1, 1, 512, 512)

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike = "weights", device: torch.device | str | None = None) -> "Pipeline":
        """Load the five weight files from a folder or a Hub repository ("owner/name", or "owner/name@revision" for one that is not to
        change under you). `device`: CUDA where there is one, else CPU.

        Raises ValueError where a file is missing or does not fit.
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        classes = {"vae": ResidualVAE, "prior": FlowPrior, "denoiser": Denoiser, "pix2pix": Pix2Pix, "edsr": EDSR}
        checkpoint.locate(source, "vae.safetensors")  # where it is not, the others are not asked for
        with ThreadPoolExecutor() as pool:  # the files are read side by side
            files = pool.map(lambda name: checkpoint.locate(source, f"{name}.safetensors"), classes)
            models = list(pool.map(checkpoint.load, classes.values(), files))
        return cls(*models, device=device)

    def __call__(
        self,
        seed: int,
        count: int = 1,
        *,
        first: int = 0,
        prior: str = "flow",
        temperature: float = 1.0,
        eye: str = "any",
        style_seed: int | None = None,
        upscale: bool = True,
        progress: Callable[[float, str], None] | None = None,
    ) -> Sample:
        """Images `first` to `first` + `count` - 1 of the run `seed`.

        `temperature` scales the noise of the trees, `eye` puts the disc "left" or "right" in the image (default: either, as often),
        `style_seed` gives all images one appearance (default: each its own), `progress` hears the share done and the stage's name between
        stages.
        """
        if _whole(count, "a count") < 1:
            raise ValueError(f"count must be 1 or more, got {count}")
        _number(temperature, "temperature", 0, 2)
        stages = 5 if upscale else 4
        parts: list[tuple[Tensor, ...]] = []
        for i in range(count):

            def tell(stage: int, text: str, i: int = i) -> None:
                if progress:
                    progress((i + stage / stages) / count, text if count == 1 else f"{text} ({i + 1} of {count})")

            tell(0, "Sampling a vessel tree")
            vessels = self.sample_vessels(temperature * self.noise(seed, first + i), prior, eye)
            tell(1, "Denoising")
            clean = self.denoise(vessels)
            annotation = self.annotate(clean)
            style = self.style(seed, first + i) if style_seed is None else self.style(style_seed)
            tell(2, "Painting the fundus")
            fundus = self.translate(annotation, style, seed, first + i)
            tell(4, "Super-resolving" if upscale else "Done")
            parts.append((style, vessels, clean, annotation, fundus) + ((self.upscale(fundus),) if upscale else ()))
        columns = [torch.cat(column) for column in zip(*parts, strict=True)]
        return Sample(seed, first, *columns[:5], columns[5] if upscale else None)

    def noise(self, seed: int, index: int = 0) -> Tensor:
        """z ~ N(0, I), (1, z_channels, 64, 64), of image `index` in the run `seed`."""
        side = SIZE // self.vae.downscale
        return _normal((1, self.vae.config.z_channels, side, side), seed, index, stream=0)

    @_stage
    def sample_vessels(self, z: Tensor, prior: str = "flow", eye: str = "any") -> Tensor:
        """Noise (N, z, 64, 64) -> soft vessel maps (N, 1, 512, 512).

        `prior`: "flow", or "gaussian", the paper's baseline, which decodes z as it is. `eye`: where the flow puts the disc, "left" or
        "right" in the image, or on "any" side, which z then tells.
        """
        if prior not in ("flow", "gaussian"):
            raise ValueError(f"prior must be 'flow' or 'gaussian', got {prior!r}")
        if eye not in EYES:
            raise ValueError(f"eye must be one of {EYES}, got {eye!r}")
        z = _checked(z, "noise", self.vae.config.z_channels, SIZE // self.vae.downscale, bounds=(-100, 100))

        def decode(z: Tensor) -> Tensor:
            side = None if eye == "any" else torch.full((1,), EYES.index(eye), device=z.device)
            return self.vae.sample(self.prior.sample(z, side) if prior == "flow" else z)

        return self._each(decode, z)

    @_stage
    def denoise(self, vessels: Tensor) -> Tensor:
        """Soft maps (N, 1, 512, 512) -> clean ones."""
        return self._each(self.denoiser.denoise, _checked(vessels, "a soft map", 1))

    @_stage
    def annotate(self, clean: Tensor) -> Tensor:
        """Clean maps (N, 1, 512, 512) -> the annotation: 1 where vessel, 0 elsewhere, pieces joined as `connect` says, nothing outside
        the field of view."""
        return torch.stack([connect(single) for single in _checked(clean, "a clean map", 1) * self.fov]) * self.fov

    @_stage
    def style(self, seed: int, index: int = 0) -> Tensor:
        """A style (1, style_channels + 1): a code and, last, an amount for `set_contrast`, both as the training photographs vary."""
        z = _normal((1, self.pix2pix.config.style_channels + 1), seed, index, stream=1)
        return self.pix2pix.draw_style(z.to(self.device)).cpu()

    @_stage
    def adjust(self, style: Tensor, **controls: float) -> Tensor:
        """Change a style (N, style_channels + 1) by CONTROLS, from -10 to 10, in standard deviations of the training photographs, which lie
        within 2 or so."""
        unknown = set(controls) - set(CONTROLS)
        if unknown:
            raise ValueError(f"no such control: {', '.join(sorted(unknown))}; there are {', '.join(CONTROLS)}")
        for name, amount in controls.items():
            _number(amount, name, -10, 10)
        amounts = torch.tensor([float(controls.get(name, 0)) for name in CONTROLS], dtype=torch.float32, device="cpu")
        return self._style(style) + amounts @ self.pix2pix.style_controls.cpu()

    @_stage
    def encode_style(self, fundus: Tensor) -> Tensor:
        """The appearance of photographs (N, 3, 512, 512), framed like DRIVE's, as `retsynth.images.read_fundus` frames them:
        (N, style_channels + 1)."""
        fov, fundus = self.fov.to(self.device), _checked(fundus, "a photograph", 3)
        return self._each(lambda x: F.pad(self.pix2pix.encode_style(x, fov), (0, 1)), fundus)

    @_stage
    def translate(self, mask: Tensor, style: Tensor | int | None = None, seed: int = 0, index: int = 0) -> Tensor:
        """Vessel maps (N, 1, 512, 512) in [0, 1] -> fundus images (N, 3, 512, 512).

        `style`: a tensor (1 or N, style_channels + 1), or the seed of one for all; None takes (`seed`, `index` + i) for map i, which also
        draw its grain and the choroid's texture.
        """
        mask = _checked(mask.float() if isinstance(mask, Tensor) and mask.dtype == torch.bool else mask, "a mask", 1)
        if style is None:
            style = torch.cat([self.style(seed, index + i) for i in range(len(mask))])
        elif not isinstance(style, Tensor):
            style = self.style(style)
        style = self._style(style)
        if len(style) not in (1, len(mask)):
            raise ValueError(f"there must be one style, or one for each of the {len(mask)} masks, got {len(style)}")
        fov = self.fov.to(self.device)
        codes = style.to(self.device).expand(len(mask), -1)
        painted = []
        with ThreadPoolExecutor(1) as pool:
            for i, (single, code) in enumerate(zip((mask * self.fov)[:, None].to(self.device), codes[:, None], strict=True)):
                drawing = pool.submit(_normal, (1, 1, SIZE, SIZE), seed, index + i, stream=2)  # while the map is looked at
                seen = self.pix2pix.see(single, fov)
                fundus = self.pix2pix.paint(seen, fov, code[:, :-1], drawing.result().to(self.device))
                painted.append((set_contrast(fundus, fov, code[:, -1]) if code[:, -1].any() else fundus).cpu())
        return painted[0] if len(painted) == 1 else torch.cat(painted)

    @_stage
    def upscale(self, image: Tensor) -> Tensor:
        """Colour images (N, 3, H, W) -> (N, 3, 2H, 2W), in overlapping tiles where they are large: the tiles' seams do not show. One whose
        channels are equal stays grey."""
        image = _checked(image, "an image", 3, None)
        large = torch.empty(len(image), 3, 2 * image.shape[2], 2 * image.shape[3], dtype=torch.float32, device="cpu")
        for single, whole in zip(image, large, strict=True):
            grey = bool((single == single[:1]).all())
            for tile, rows, columns in self._tiles(lambda y, x, single=single: single[None, :, y, x], *image.shape[2:], grey):
                whole[:, rows, columns] = tile[0]
        return large

    @_stage
    def upscale_array(self, image: np.ndarray) -> np.ndarray:
        """One image (H, W, 3) uint8 -> (2H, 2W, 3) uint8, as `upscale` has it; beside the result no map of the large size is held."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < 4:
            raise ValueError(f"an image must be uint8 (H, W, 3), 4 px or more each way, got {image.dtype} {image.shape}")
        large = np.empty((2 * image.shape[0], 2 * image.shape[1], 3), np.uint8)
        grey = bool((image == image[..., :1]).all())
        for tile, rows, columns in self._tiles(lambda y, x: to_tensor(image[y, x]), *image.shape[:2], grey):
            large[rows, columns] = to_array(tile)
        return large

    def _tiles(self, read: Callable[[slice, slice], Tensor], height: int, width: int, grey: bool) -> Iterator[tuple[Tensor, slice, slice]]:
        """Enlarge `read(rows, columns)`, (1, 3, h, w), tile after tile: a part of the large image, its rows and its columns."""
        margin = self.edsr.reach  # tiles see as far over their edges as the whole image would
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                bottom, right = min(top + TILE, height), min(left + TILE, width)
                y, x = max(top - margin, 0), max(left - margin, 0)
                tile = read(slice(y, bottom + margin), slice(x, right + margin)).to(self.device)
                rows, columns = slice(2 * (top - y), 2 * (bottom - y)), slice(2 * (left - x), 2 * (right - x))
                large = self.edsr.upscale(tile)[:, :, rows, columns].cpu()
                if grey:  # what has no colour gets none: the network knows photographs in colour alone
                    large = large.mean(1, keepdim=True).expand(-1, 3, -1, -1)
                yield large, slice(2 * top, 2 * bottom), slice(2 * left, 2 * right)

    @staticmethod
    def interpolate(z0: Tensor, z1: Tensor, t: float) -> Tensor:
        """Between two noises (1, z_channels, 64, 64), t from 0 to 1, along the sphere on which N(0, I) lives (Shoemake 1985).

        Every step is as likely as its ends, which a straight line's are not."""
        _number(t, "t", 0, 1)
        if z0.shape != z1.shape or len(z0) != 1:
            raise ValueError(f"there must be two noises of one image each, and of one shape, got {tuple(z0.shape)} and {tuple(z1.shape)}")
        cosine = (z0 * z1).sum() / (z0.norm() * z1.norm()).clamp(min=1e-12)
        angle = torch.arccos(cosine.clamp(-1, 1))  # rounding takes that of two equal ones past 1
        if angle.sin() < 1e-4:  # the same direction, or opposite ones, between which no arc is the shortest
            return torch.lerp(z0, z1, t)
        return (torch.sin((1 - t) * angle) * z0 + torch.sin(t * angle) * z1) / torch.sin(angle)

    @staticmethod
    def vary(z: Tensor, strength: float, seed: int) -> Tensor:
        """Noises near z (N, z_channels, 64, 64), all changed by the same one: `strength` 0 is z, 1 another tree. Still N(0, I), since the
        squares of the weights add up to 1."""
        _number(strength, "strength", 0, 1)
        return (1 - strength**2) ** 0.5 * z + strength * _normal((1, *z.shape[1:]), seed, 0, stream=3).to(z.device)

    def before_each_layer(self, call: Callable[[], None]) -> None:
        """Let all networks call `call` before each of their layers, from now on. What it raises ends the work there, within a stage too."""
        for model in (self.vae, self.prior, self.denoiser, self.pix2pix, self.edsr):
            for module in model.modules():
                if not any(module.children()):  # a layer, not a container of layers
                    module.register_forward_pre_hook(lambda module, inputs: call())

    def _style(self, style: Tensor) -> Tensor:
        """`style` in float32 on the CPU, where it is one of finite numbers (N, style_channels + 1)."""
        width = self.pix2pix.config.style_channels + 1
        if not isinstance(style, Tensor) or style.ndim != 2 or style.shape[1] != width or not style.isfinite().all():
            got = tuple(style.shape) if isinstance(style, Tensor) else type(style).__name__
            raise ValueError(f"a style must be (1 or N, {width}) of finite numbers, got {got}: take it from style, adjust or encode_style")
        return style.float().cpu()

    def _each(self, stage: Callable[[Tensor], Tensor], x: Iterable[Tensor]) -> Tensor:
        """`stage` on one image at a time, so that the batch size cannot change a result."""
        return torch.cat([stage(single[None].to(self.device)).cpu() for single in x])


def _normal(shape: tuple[int, ...], seed: int, index: int, stream: int) -> Tensor:
    """N(0, 1) float32 for one purpose (`stream`) of image `index` in the run `seed`.

    NumPy draws it, since torch's CPU generator keeps 32 bits of a seed only: too few to tell (seed, index, stream) apart.
    """
    numbers = [_whole(seed, "a seed"), _whole(index, "an index"), stream]
    return torch.from_numpy(np.random.default_rng(numbers).standard_normal(shape, dtype=np.float32))


def _whole(value: object, what: str) -> int:
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)  # NumPy's integers are whole numbers as well
    except TypeError:
        number = -1
    if not 0 <= number < 2**32:
        raise ValueError(f"{what} is a whole number from 0 to {2**32 - 1}, got {value!r}")
    return number


def _number(value: object, what: str, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not low <= value <= high:
        raise ValueError(f"{what} must lie between {low} and {high}, got {value!r}")


def _checked(tensor: Tensor, what: str, channels: int, size: int | None = SIZE, bounds: tuple[int, int] = (0, 1)) -> Tensor:
    """`tensor` in float32, where it is one of floats (N, channels, size, size) within `bounds`; `size` None: 4 px or more each way."""
    shape = f"(N, {channels}, H, W), 4 px or more each way" if size is None else f"(N, {channels}, {size}, {size})"
    wanted, cure = f"{what} must be a tensor of floats of the shape {shape}, N 1 or more", "retsynth.images reads files and arrays"
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{wanted}, got {type(tensor).__name__}: {cure}")
    fits = (
        tensor.ndim == 4
        and tensor.shape[1] == channels
        and (min(tensor.shape[2:]) >= 4 if size is None else tensor.shape[2:] == (size, size))
    )
    if not (fits and len(tensor) and tensor.is_floating_point()):
        raise ValueError(f"{wanted}, got {tensor.dtype} {tuple(tensor.shape)}: {cure}")
    low, high = (float(end) for end in tensor.aminmax())
    if not bounds[0] - 0.01 <= low <= high <= bounds[1] + 0.01:  # a little over, as resizing gives it, does no harm
        raise ValueError(f"{what} must hold numbers from {bounds[0]} to {bounds[1]}, got {low:g} to {high:g}: {cure}")
    return tensor.float().cpu()
