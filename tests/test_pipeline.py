from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor

from retsynth import pipeline
from retsynth.connect import connect
from retsynth.edsr import EDSR, EDSRConfig
from retsynth.images import to_array, to_tensor
from retsynth.pipeline import Pipeline
from retsynth.pix2pix import set_contrast
from retsynth.prior import coin
from retsynth.vae import ResidualVAE, VAEConfig
from tests.networks import noise, seeded, uniform
from train.bench import peak_memory


def same(a, b) -> bool:
    """Whether two Samples hold the same bytes."""
    pairs = [(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)]
    return all(torch.equal(x, y) if isinstance(x, Tensor) else x == y for x, y in pairs)


@pytest.fixture(scope="module")
def sample(tiny_pipeline):
    return tiny_pipeline(7, count=3)


def test_a_sample_has_shapes_and_ranges(tiny_pipeline, sample):
    shapes = {"vessels": (1, 512), "clean": (1, 512), "annotation": (1, 512), "fundus": (3, 512), "large": (3, 1024)}
    for name, (channels, size) in shapes.items():
        images = getattr(sample, name)
        assert images.shape == (3, channels, size, size)
        assert images.dtype == torch.float32 and images.device.type == "cpu"
        assert images.min() >= 0 and images.max() <= 1
    assert sample.style.shape == (3, tiny_pipeline.pix2pix.config.style_channels + 1)
    assert len(sample) == 3


def test_the_annotation_is_the_joined_map_inside_the_field_of_view(tiny_pipeline, sample):
    fov = tiny_pipeline.fov
    assert fov.shape == (1, 1, 512, 512) and set(fov.unique().tolist()) == {0.0, 1.0}
    for annotation, clean in zip(sample.annotation, sample.clean, strict=True):
        assert torch.equal(annotation, connect(clean * fov[0]) * fov[0])
    assert set(sample.annotation.unique().tolist()) <= {0.0, 1.0}
    assert 0 < sample.annotation.mean() < fov.mean()
    assert (sample.fundus * (1 - fov) == 0).all()


def test_the_chain_is_its_stages(tiny_pipeline, sample):
    pipe = tiny_pipeline
    vessels = pipe.sample_vessels(pipe.noise(7, 1))
    clean = pipe.denoise(vessels)
    annotation = pipe.annotate(clean)
    fundus = pipe.translate(annotation, pipe.style(7, 1), seed=7, index=1)
    large = pipe.upscale(fundus)
    for name, image in {"vessels": vessels, "clean": clean, "annotation": annotation, "fundus": fundus, "large": large}.items():
        assert torch.equal(getattr(sample, name)[1:2], image), name


def test_the_same_seed_gives_the_same_bytes(tiny_pipeline, sample):
    state = torch.get_rng_state()
    torch.manual_seed(99)  # must not matter
    assert same(tiny_pipeline(7, count=3), sample)
    torch.manual_seed(99)
    undisturbed = torch.get_rng_state()
    tiny_pipeline(7, upscale=False)
    assert torch.equal(torch.get_rng_state(), undisturbed)
    torch.set_rng_state(state)


def test_pytorchs_default_type_does_not_matter(tiny_pipeline, sample):
    torch.set_default_dtype(torch.float64)
    try:
        assert same(tiny_pipeline(7, count=3), sample)
        assert tiny_pipeline.adjust(sample.style, pigmentation=1).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_pytorchs_default_device_does_not_matter(tiny_weights, sample):
    torch.set_default_device("meta")  # as a GPU would be in a notebook, but wherever there is none
    try:
        pipe = Pipeline.from_pretrained(tiny_weights, "cpu")
        assert same(pipe(7, count=3), sample)
        assert pipe.adjust(sample.style, pigmentation=1).device.type == "cpu"
    finally:
        torch.set_default_device(None)


def test_one_call_for_four_equals_four_calls(tiny_pipeline):
    four = tiny_pipeline(3, count=4, first=10)
    for i in range(4):
        one = tiny_pipeline(3, first=10 + i)
        for name in ("style", "vessels", "clean", "annotation", "fundus", "large"):
            assert torch.equal(getattr(one, name), getattr(four, name)[i : i + 1]), name


def test_seeds_and_indices_differ(tiny_pipeline):
    images = [tiny_pipeline(seed, first=first, upscale=False) for seed, first in ((0, 0), (0, 1), (1, 0), (2**32 - 1, 0))]
    for i, a in enumerate(images):
        for b in images[:i]:
            assert not torch.equal(a.vessels, b.vessels)
            assert not torch.equal(a.style, b.style)


def test_requests_at_once_do_not_disturb_each_other(tiny_pipeline):
    alone = [tiny_pipeline(seed, upscale=False) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: tiny_pipeline(seed, upscale=False), range(4)))
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))


def test_without_upscaling_there_is_no_large_image(tiny_pipeline, sample):
    small = tiny_pipeline(7, upscale=False)
    assert small.large is None
    assert torch.equal(small.fundus, sample.fundus[:1])


def test_a_style_seed_gives_all_images_one_appearance(tiny_pipeline):
    sample = tiny_pipeline(7, count=2, style_seed=3, upscale=False)
    assert torch.equal(sample.style, tiny_pipeline.style(3).expand(2, -1))
    assert torch.equal(sample.annotation, tiny_pipeline(7, count=2, upscale=False).annotation)


def test_progress_rises_and_names_the_stages(tiny_pipeline):
    heard = []
    tiny_pipeline(7, count=2, progress=lambda done, text: heard.append((done, text)))
    shares = [done for done, _ in heard]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] < 1
    assert "(2 of 2)" in heard[-1][1]


def test_progress_ends_at_one_where_nothing_is_upscaled(tiny_pipeline):
    heard = []
    tiny_pipeline(7, upscale=False, progress=lambda *told: heard.append(told))
    assert heard[-1] == (1, "Done")


def test_the_gaussian_prior_decodes_the_noise_itself(tiny_pipeline):
    z = tiny_pipeline.noise(7)
    assert torch.equal(tiny_pipeline.sample_vessels(z, prior="gaussian"), tiny_pipeline.vae.sample(z))
    assert torch.equal(tiny_pipeline(7, prior="gaussian", upscale=False).vessels, tiny_pipeline.vae.sample(z))


def test_temperature_scales_the_noise(tiny_pipeline):
    cold = tiny_pipeline(7, count=2, temperature=0.0, prior="gaussian", upscale=False)
    assert torch.equal(cold.vessels[0], cold.vessels[1])
    warm = tiny_pipeline(7, temperature=0.5, prior="gaussian", upscale=False)
    assert torch.equal(warm.vessels, tiny_pipeline.vae.sample(0.5 * tiny_pipeline.noise(7)))


def test_the_eye_reaches_the_prior(tiny_pipeline):
    z = tiny_pipeline.noise(7)
    maps = [tiny_pipeline.sample_vessels(z, eye=eye) for eye in ("any", "left", "right")]
    assert not torch.equal(maps[1], maps[2])
    assert torch.equal(tiny_pipeline(7, eye="right", upscale=False).vessels, maps[2])
    assert torch.equal(maps[0], maps[1 + int(coin(z))])


def test_noise_is_standard_normal_and_independent(tiny_pipeline):
    a, b = tiny_pipeline.noise(0, 0).flatten(), tiny_pipeline.noise(0, 1).flatten()
    assert tiny_pipeline.noise(5).shape == (1, tiny_pipeline.vae.config.z_channels, 64, 64)
    assert abs(a.mean()) < 0.05 and abs(a.std() - 1) < 0.05
    assert abs(torch.corrcoef(torch.stack((a, b)))[0, 1]) < 0.05


def test_each_purpose_has_random_numbers_of_its_own(tiny_pipeline, monkeypatch):
    drawn, draw = [], pipeline._normal
    monkeypatch.setattr(pipeline, "_normal", lambda *key, **named: drawn.append(draw(*key, **named)) or drawn[-1])
    z, style = tiny_pipeline.noise(7), tiny_pipeline.style(7)
    tiny_pipeline.translate(torch.zeros(1, 1, 512, 512), style, seed=7)  # the grain
    Pipeline.vary(z, 1.0, seed=7)
    assert len({tuple(one.flatten()[:4].tolist()) for one in drawn}) == len(drawn) == 4


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "7", None, True])
def test_bad_seeds(tiny_pipeline, seed):
    with pytest.raises(ValueError, match="a seed is a whole number from 0 to 4294967295, got"):
        tiny_pipeline(seed)
    with pytest.raises(ValueError, match="a seed is a whole number"):
        tiny_pipeline.style(seed)


@pytest.mark.parametrize(
    "options, complaint",
    [
        ({"count": 0}, "count must be 1 or more, got 0"),
        ({"first": -1}, "an index is a whole number"),
        ({"prior": "magic"}, "prior must be 'flow' or 'gaussian', got 'magic'"),
        ({"eye": "third"}, "eye must be one of .*got 'third'"),
    ],
)
def test_bad_options(tiny_pipeline, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        tiny_pipeline(7, **options)


def test_translate_takes_a_style_a_seed_or_nothing(tiny_pipeline, sample):
    mask = sample.annotation[:1]
    style = tiny_pipeline.style(5)
    as_tensor, as_seed = tiny_pipeline.translate(mask, style, seed=2), tiny_pipeline.translate(mask, 5, seed=2)
    assert torch.equal(as_tensor, as_seed)
    assert torch.equal(tiny_pipeline.translate(mask, seed=2), tiny_pipeline.translate(mask, tiny_pipeline.style(2), seed=2))
    assert not torch.equal(as_seed, tiny_pipeline.translate(mask, 6, seed=2))  # another appearance
    assert not torch.equal(as_seed, tiny_pipeline.translate(mask, 5, seed=3))  # another grain


def test_translate_pairs_masks_with_styles(tiny_pipeline, sample):
    styles = torch.cat([tiny_pipeline.style(i) for i in range(3)])
    together = tiny_pipeline.translate(sample.annotation, styles)
    for i in range(3):
        assert torch.equal(together[i : i + 1], tiny_pipeline.translate(sample.annotation[i : i + 1], styles[i : i + 1], index=i))


def test_translate_ignores_what_is_drawn_outside_the_field_of_view(tiny_pipeline, sample):
    mask = sample.annotation[:1]
    assert torch.equal(tiny_pipeline.translate(mask), tiny_pipeline.translate(torch.where(tiny_pipeline.fov > 0, mask, 1.0)))


@pytest.mark.parametrize("shape", [(512, 512), (1, 512, 512), (1, 3, 512, 512), (1, 1, 256, 256)])
def test_translate_names_a_wrong_shape(tiny_pipeline, shape):
    with pytest.raises(ValueError, match=r"a mask must be a tensor of floats of the shape \(N, 1, 512, 512\), .*got .*retsynth.images"):
        tiny_pipeline.translate(torch.zeros(shape))


def test_the_style_of_a_photograph_ignores_its_corners(tiny_pipeline):
    photographs = uniform(2, 3, 512, 512)
    styles = tiny_pipeline.encode_style(photographs)
    assert styles.shape == (2, tiny_pipeline.pix2pix.config.style_channels + 1)
    assert not torch.allclose(styles[0], tiny_pipeline.encode_style(photographs[:1] * 0.5)[0])
    torch.testing.assert_close(styles[1:], tiny_pipeline.encode_style(photographs[1:] * tiny_pipeline.fov))


def test_controls_move_a_style_along_their_directions(tiny_pipeline):
    style, directions = tiny_pipeline.style(3), tiny_pipeline.pix2pix.style_controls
    assert torch.equal(tiny_pipeline.adjust(style), style)
    moved = tiny_pipeline.adjust(style, pigmentation=-2, brightness=1.5)
    torch.testing.assert_close(moved, style + 1.5 * directions[0] - 2 * directions[1])
    with pytest.raises(ValueError, match="contrast must lie between -10 and 10, got 1000000000.0"):
        tiny_pipeline.adjust(style, contrast=1e9)
    with pytest.raises(ValueError, match="no such control: hue; there are brightness, pigmentation, contrast"):
        tiny_pipeline.adjust(style, hue=1)


def test_each_map_of_a_batch_is_an_eye_of_its_own(tiny_pipeline):
    sample = tiny_pipeline(4, count=2, upscale=False)
    assert torch.equal(tiny_pipeline.translate(sample.annotation, sample.style, seed=4), sample.fundus)
    assert torch.equal(tiny_pipeline.translate(sample.annotation, seed=4), sample.fundus), "without a style each takes its own"
    one, other = tiny_pipeline.translate(sample.annotation[:1].expand(2, -1, -1, -1), 3)
    assert not torch.equal(one, other), "the grain differs where map and style are the same"


@pytest.mark.parametrize("style", [torch.zeros(1, 4), torch.zeros(5), torch.full((1, 5), float("nan"))])
def test_a_wrong_style_is_named(tiny_pipeline, style):
    for use in (tiny_pipeline.adjust, lambda style: tiny_pipeline.translate(torch.zeros(1, 1, 512, 512), style)):
        with pytest.raises(ValueError, match=r"a style must be \(1 or N, 5\) of finite numbers, got \("):
            use(style)


def test_a_style_that_is_no_tensor_or_has_no_mask_is_named(tiny_pipeline):
    with pytest.raises(ValueError, match="a style must be .* got ndarray"):
        tiny_pipeline.adjust(np.zeros((1, 5)))
    with pytest.raises(ValueError, match="there must be one style, or one for each of the 1 masks, got 2"):
        tiny_pipeline.translate(torch.zeros(1, 1, 512, 512), torch.zeros(2, 5))


def test_the_style_carries_the_contrast(tiny_pipeline):
    mask = (uniform(1, 1, 512, 512) > 0.9).float()
    code = tiny_pipeline.style(3)[:, :-1]
    plain, hazy = (tiny_pipeline.translate(mask, torch.cat((code, torch.full((1, 1), a)), 1), seed=1) for a in (0.0, -1.0))
    torch.testing.assert_close(hazy, set_contrast(plain, tiny_pipeline.fov, torch.tensor([-1.0])))


def test_tiles_leave_no_seam(tiny_pipeline, monkeypatch):
    """With as many blocks as EDSR-baseline, whose receptive field the tiles' overlap must cover, on tiles of 64 pixels."""
    pipe = Pipeline(
        tiny_pipeline.vae, tiny_pipeline.prior, tiny_pipeline.denoiser, tiny_pipeline.pix2pix, deep := seeded(EDSR(EDSRConfig(8, 16)))
    )
    deep.requires_grad_(False)
    image = uniform(1, 3, 150, 201)
    deep.tail[0].weight.mul_(0.3 / deep(image).std())  # keep it out of saturation, where any seam would vanish
    whole = deep.upscale(image)
    assert ((whole > 0) & (whole < 1)).float().mean() > 0.1
    monkeypatch.setattr(pipeline, "TILE", 64)
    tiled = pipe.upscale(image)
    assert (tiled - whole).abs().max() < 1e-4
    array = to_array(image)
    large = pipe.upscale_array(array)
    assert large.dtype == np.uint8
    assert np.abs(large.astype(int) - to_array(deep.upscale(to_tensor(array)))).max() <= 1
    monkeypatch.setattr(EDSR, "reach", 8)
    assert (pipe.upscale(image) - whole).abs().max() > 1e-4  # the test would see a seam


def test_whole_images_of_eight_bits_are_those_of_floats(tiny_pipeline):
    image = to_array(uniform(1, 3, 40, 52))
    assert np.array_equal(tiny_pipeline.upscale_array(image), to_array(tiny_pipeline.upscale(to_tensor(image))))


@pytest.mark.parametrize("height, width", [(4, 4), (9, 31), (520, 8)])
def test_upscale_doubles_any_size(tiny_pipeline, height, width):
    large = tiny_pipeline.upscale(uniform(2, 3, height, width))
    assert large.shape == (2, 3, 2 * height, 2 * width)
    assert large.min() >= 0 and large.max() <= 1


def test_a_grey_image_stays_grey_and_none_beside_it(tiny_pipeline):
    grey, colour = uniform(1, 1, 16, 16).expand(-1, 3, -1, -1), uniform(1, 3, 16, 16)
    large = tiny_pipeline.upscale(torch.cat((grey, colour)))
    assert (large[0] == large[0, :1]).all() and not (large[1] == large[1, :1]).all()
    array = tiny_pipeline.upscale_array(to_array(grey))
    assert (array == array[..., :1]).all()


def test_a_large_image_of_eight_bits_takes_little_more_memory_than_itself(tiny_pipeline):
    def peak(side: int) -> int | None:
        return peak_memory(lambda: tiny_pipeline.upscale_array(np.zeros((side, side, 3), np.uint8)), torch.device("cpu"))

    if (before := peak(1024)) is None:
        pytest.skip("this system does not tell a process's peak memory")
    # the large images take 13 and 50 MB; as floats they would take 50 and 201
    assert peak(2048) - before < 150e6


@pytest.mark.parametrize("image", [np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3)), np.zeros((3, 64, 3), np.uint8)])
def test_upscale_array_names_a_wrong_array(tiny_pipeline, image):
    with pytest.raises(ValueError, match=r"an image must be uint8 \(H, W, 3\), 4 px or more each way, got (uint8|float64) \("):
        tiny_pipeline.upscale_array(image)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64), (1, 3, 3, 64)])
def test_upscale_names_a_wrong_shape(tiny_pipeline, shape):
    with pytest.raises(ValueError, match=r"an image must be a tensor of floats of the shape \(N, 3, H, W\)"):
        tiny_pipeline.upscale(torch.zeros(shape))


def test_interpolation_runs_along_the_sphere():
    a, b = noise(1, 2, 64, 64), noise(1, 2, 64, 64, seed=1)
    torch.testing.assert_close(Pipeline.interpolate(a, b, 0.0), a)
    torch.testing.assert_close(Pipeline.interpolate(a, b, 1.0), b)
    for t in (0.25, 0.5, 0.75):
        assert abs(Pipeline.interpolate(a, b, t).std() - 1) < 0.03  # a straight line would give 0.79 to 0.71
    x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    torch.testing.assert_close(Pipeline.interpolate(x, y, 1 / 3), torch.tensor([[3**0.5 / 2, 0.5]]))
    for seed in range(20):  # rounding takes the cosine of every other one past 1
        a = noise(1, 4, 64, 64, seed=seed)
        torch.testing.assert_close(Pipeline.interpolate(a, a, 0.4), a)


def test_between_opposite_noises_there_is_a_straight_line():
    z = noise(1, 4, 64, 64)
    torch.testing.assert_close(Pipeline.interpolate(z, -z, 0.25), 0.5 * z)


def test_variations_stay_standard_normal(tiny_pipeline):
    z = noise(1, 2, 64, 64)
    assert torch.equal(Pipeline.vary(z, 0.0, seed=1), z)
    for strength in (0.3, 0.7, 1.0):
        varied = Pipeline.vary(z, strength, seed=1)
        correlation = torch.corrcoef(torch.stack((z.flatten(), varied.flatten())))[0, 1]
        assert abs(varied.std() - 1) < 0.03
        assert abs(correlation - (1 - strength**2) ** 0.5) < 0.03
    with pytest.raises(ValueError, match="strength must lie between 0 and 1, got 1.5"):
        Pipeline.vary(z, 1.5, seed=1)
    both = torch.cat((z, -z))
    assert torch.equal(Pipeline.vary(both, 0.3, seed=1), torch.cat([Pipeline.vary(one[None], 0.3, seed=1) for one in both]))


@pytest.mark.parametrize(
    ("count", "t", "sentence"), [(1, 5, "t must lie between 0 and 1"), (1, float("nan"), "t must"), (2, 0.5, "one image")]
)
def test_what_does_not_lie_between_two_noises_is_refused(count, t, sentence):
    with pytest.raises(ValueError, match=sentence):
        Pipeline.interpolate(noise(count, 4, 8, 8), noise(count, 4, 8, 8, seed=1), t)


STAGES = {
    "sample_vessels": lambda pipe: pipe.sample_vessels(pipe.noise(7)),
    "denoise": lambda pipe: pipe.denoise(torch.zeros(1, 1, 512, 512)),
    "translate": lambda pipe: pipe.translate(torch.zeros(1, 1, 512, 512)),
    "encode_style": lambda pipe: pipe.encode_style(torch.zeros(1, 3, 512, 512)),
    "upscale": lambda pipe: pipe.upscale(torch.zeros(1, 3, 16, 16)),
}


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_called_before_each_layer_may_end_a_stage_in_its_midst(tiny_weights, stage):
    pipe, asked = Pipeline.from_pretrained(tiny_weights, device="cpu"), []
    pipe.before_each_layer(lambda: asked.append(stage))
    STAGES[stage](pipe)
    often = len(asked)
    assert often >= 4

    def stop():
        if len(asked) == often + often // 2:
            raise KeyboardInterrupt

    pipe.before_each_layer(stop)
    with pytest.raises(KeyboardInterrupt):
        STAGES[stage](pipe)
    assert len(asked) == often + often // 2, "the work went on"


def test_a_prior_of_another_vaes_latents_is_refused(tiny_pipeline):
    vae = ResidualVAE(VAEConfig(z_channels=4, width=8))
    with pytest.raises(ValueError, match="latents of 2 channels, the VAE decodes 4"):
        Pipeline(vae, tiny_pipeline.prior, tiny_pipeline.denoiser, tiny_pipeline.pix2pix, tiny_pipeline.edsr)


def test_from_pretrained_without_weights(tmp_path):
    with pytest.raises(ValueError, match="no vae.safetensors in .*train"):
        Pipeline.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="neither a folder nor a Hub repository"):
        Pipeline.from_pretrained(tmp_path / "missing" / "folder")


def test_what_the_stages_give_can_be_trained_on(tiny_pipeline):
    sample = tiny_pipeline(1)
    made = [sample.fundus, tiny_pipeline.translate(sample.annotation, 3), tiny_pipeline.upscale(sample.fundus[..., :16, :16])]
    for image in made:
        torch.nn.Conv2d(3, 1, 3)(image).mean().backward()
        image.mul_(0.5)
    assert not any(image.requires_grad for image in made)


def test_numpy_integers_are_seeds(tiny_pipeline):
    assert torch.equal(tiny_pipeline.noise(np.int64(7), np.uint8(2)), tiny_pipeline.noise(7, 2))
    for seed in (True, 7.0, "7", -1, 2**32, np.int64(-1), None):
        with pytest.raises(ValueError, match="a seed is a whole number"):
            tiny_pipeline.noise(seed)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda pipe: pipe.translate(torch.zeros(0, 1, 512, 512)), "N 1 or more"),
        (lambda pipe: pipe.translate(torch.zeros(1, 1, 512, 512, dtype=torch.uint8)), "torch.uint8"),
        (lambda pipe: pipe.translate(np.zeros((1, 1, 512, 512), np.float32)), "a tensor of floats .* got ndarray"),
        (lambda pipe: pipe.translate(torch.full((1, 1, 512, 512), 255.0)), "numbers from 0 to 1, got 255 to 255"),
        (lambda pipe: pipe.translate(torch.full((1, 1, 512, 512), float("nan"))), "numbers from 0 to 1, got nan"),
        (lambda pipe: pipe.encode_style(torch.zeros(1, 3, 512, 512, dtype=torch.uint8)), "torch.uint8"),
        (lambda pipe: pipe.encode_style(torch.zeros(1, 3, 500, 500)), r"\(N, 3, 512, 512\)"),
        (lambda pipe: pipe.encode_style(torch.full((1, 3, 512, 512), 255.0)), "numbers from 0 to 1"),
        (lambda pipe: pipe.denoise(torch.zeros(1, 1, 256, 256)), r"\(N, 1, 512, 512\)"),
        (lambda pipe: pipe.annotate(torch.full((1, 1, 512, 512), -1.0)), "numbers from 0 to 1"),
        (lambda pipe: pipe.sample_vessels(torch.zeros(1, 4, 32, 32)), r"noise must be .*\(N, 2, 64, 64\)"),
        (lambda pipe: pipe.sample_vessels(pipe.noise(0) / 0), "noise must hold numbers from -100 to 100"),
        (lambda pipe: pipe.upscale(torch.full((1, 3, 8, 8), 255.0)), "numbers from 0 to 1"),
        (lambda pipe: pipe.upscale(torch.zeros(0, 3, 8, 8)), "N 1 or more"),
        (lambda pipe: pipe.upscale(torch.zeros(1, 3, 8, 8, dtype=torch.uint8)), "torch.uint8"),
        (lambda pipe: pipe(1, temperature=float("nan")), "between 0 and 2, got nan"),
        (lambda pipe: pipe(1, temperature=-1), "between 0 and 2, got -1"),
        (lambda pipe: pipe(1, temperature="1"), "between 0 and 2, got '1'"),
        (lambda pipe: pipe(1, count="2"), "a count is a whole number from 0 to 4294967295, got '2'"),
        (lambda pipe: pipe.vary(pipe.noise(1), None, 1), "strength must lie between 0 and 1, got None"),
    ],
)
def test_what_no_stage_takes_is_refused_in_a_sentence(tiny_pipeline, call, says):
    with pytest.raises(ValueError, match=says):
        call(tiny_pipeline)


def test_a_little_over_the_range_does_no_harm_and_more_is_refused(tiny_pipeline):
    assert tiny_pipeline.upscale(torch.full((1, 3, 8, 8), 1.005)).max() <= 1
    with pytest.raises(ValueError, match="numbers from 0 to 1, got 1.02 to 1.02"):
        tiny_pipeline.upscale(torch.full((1, 3, 8, 8), 1.02))


def test_other_floats_are_as_good(tiny_pipeline):
    sample = tiny_pipeline(1, upscale=False)
    assert torch.equal(tiny_pipeline.translate(sample.annotation.double(), 3), tiny_pipeline.translate(sample.annotation.bool(), 3))
    assert torch.equal(tiny_pipeline.encode_style(sample.fundus.double()), tiny_pipeline.encode_style(sample.fundus))
    small = sample.fundus[..., :8, :8]
    assert torch.equal(tiny_pipeline.upscale(small.double()), tiny_pipeline.upscale(small))


def test_an_autocast_around_it_changes_nothing(tiny_pipeline):
    expected = tiny_pipeline(3)
    with torch.autocast("cpu", torch.bfloat16):
        made = tiny_pipeline(3)
        style = tiny_pipeline.encode_style(expected.fundus)
        array = tiny_pipeline.upscale_array(to_array(expected.fundus))
    for part in ("style", "vessels", "clean", "annotation", "fundus", "large"):
        assert torch.equal(getattr(made, part), getattr(expected, part)), part
    assert torch.equal(style, tiny_pipeline.encode_style(expected.fundus))
    assert np.array_equal(array, tiny_pipeline.upscale_array(to_array(expected.fundus)))
