import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from retsynth import __version__, checkpoint
from retsynth.checkpoint import Uninitialised
from retsynth.denoiser import Denoiser, DenoiserConfig
from retsynth.edsr import EDSR, EDSRConfig
from retsynth.pix2pix import Pix2Pix, Pix2PixConfig
from retsynth.prior import FlowPrior, PriorConfig
from retsynth.vae import ResidualVAE, VAEConfig
from tests.networks import seeded

TINY = [
    ResidualVAE(VAEConfig(z_channels=2, width=8)),
    FlowPrior(PriorConfig(z_channels=2, width=8, wider=16)),
    Denoiser(DenoiserConfig(width=4)),
    Pix2Pix(Pix2PixConfig(style_channels=3, width=8, depth=5, fine=4)),
    Pix2Pix(Pix2PixConfig(style_channels=3, width=16, depth=5, slim=8, inner=(8, 8, 16, 16, 16), fine=4)),
    EDSR(EDSRConfig(width=8, blocks=1)),
]


@pytest.fixture
def weights(tmp_path):
    """A small EDSR on disk."""
    path = tmp_path / "edsr.safetensors"
    checkpoint.save(EDSR(EDSRConfig(width=8, blocks=1)), path)
    return path


def rewrite(path, change):
    """Apply `change(tensors, metadata)` to a weight file."""
    with safe_open(path, framework="pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    change(tensors, metadata)
    save_file(tensors, path, metadata)


@pytest.mark.parametrize("model", TINY, ids=lambda model: type(model).__name__)
def test_round_trip(model, tmp_path):
    model = seeded(model)
    path = tmp_path / "folder" / "model.safetensors"
    checkpoint.save(model, path, steps=7)
    loaded = checkpoint.load(type(model), path)
    assert loaded.config == model.config
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    # buffers outside the state dict would stay on the meta device
    assert not any(tensor.is_meta for tensor in [*loaded.parameters(), *loaded.buffers()])
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for kept, original in zip(loaded.state_dict().values(), model.state_dict().values(), strict=True):
        assert kept.dtype == original.dtype == torch.float32
        assert torch.equal(kept, original.half().float())  # half precision on disk
    assert checkpoint.notes(path) == {"steps": 7}


def test_metadata_says_what_the_file_is(weights):
    with safe_open(weights, framework="pt") as file:
        metadata = file.metadata()
    assert (metadata["model"], metadata["version"]) == ("EDSR", __version__)
    assert json.loads(metadata["config"]) == {"width": 8, "blocks": 1, "residual_scale": 1.0}


def test_another_models_file(weights):
    with pytest.raises(ValueError, match="holds 'EDSR', expected 'ResidualVAE'"):
        checkpoint.load(ResidualVAE, weights)


def missing_key(tensors, metadata):
    del tensors["head.weight"]


def extra_key(tensors, metadata):
    tensors["surprise"] = torch.zeros(1)


def wrong_shape(tensors, metadata):
    tensors["head.weight"] = torch.zeros(1, 2, 3)


def unknown_option(tensors, metadata):
    metadata["config"] = json.dumps({"breadth": 8})


def broken_config(tensors, metadata):
    metadata["config"] = "{"


def no_config(tensors, metadata):
    del metadata["config"]


def test_a_config_of_which_no_network_can_be_made(tmp_path):
    path = tmp_path / "vae.safetensors"
    checkpoint.save(ResidualVAE(VAEConfig(z_channels=2, width=8)), path)
    rewrite(path, lambda tensors, metadata: metadata.update(config=json.dumps({"z_channels": 2, "width": 10})))
    with pytest.raises(ValueError, match="vae.safetensors does not fit ResidualVAE: num_channels"):
        checkpoint.load(ResidualVAE, path)


def test_a_translation_too_shallow_for_its_texture(tmp_path):
    path = tmp_path / "pix2pix.safetensors"
    checkpoint.save(Pix2Pix(Pix2PixConfig(style_channels=3, width=8, depth=5, fine=4)), path)
    rewrite(path, lambda tensors, metadata: metadata.update(config=json.dumps({"width": 8, "depth": 3})))
    with pytest.raises(ValueError, match="pix2pix.safetensors does not fit Pix2Pix"):
        checkpoint.load(Pix2Pix, path)


@pytest.mark.parametrize("change", [missing_key, extra_key, wrong_shape, unknown_option, broken_config, no_config])
def test_a_file_that_does_not_fit_the_code(weights, change):
    rewrite(weights, change)
    with pytest.raises(ValueError, match="edsr.safetensors does not fit EDSR"):
        checkpoint.load(EDSR, weights)


def test_a_file_without_metadata(weights):
    save_file({"x": torch.zeros(1)}, weights)
    with pytest.raises(ValueError, match="holds None, expected 'EDSR'"):
        checkpoint.load(EDSR, weights)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-9])


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("not weights, however long this may be")


def pickled(path):
    torch.save(EDSR(EDSRConfig(width=8, blocks=1)).state_dict(), path)


@pytest.mark.parametrize("spoil", [truncated, empty, text, pickled, lambda path: path.unlink()])
def test_not_a_safetensors_file(weights, spoil):
    spoil(weights)
    with pytest.raises(ValueError, match="cannot read weights from .*edsr.safetensors"):
        checkpoint.load(EDSR, weights)


def test_a_failed_save_leaves_the_old_file_whole(weights, monkeypatch):
    before = weights.read_bytes()

    def fail_halfway(path, content):
        with path.open("wb") as file:
            file.write(content[:100])
        raise OSError("disk full")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(Path, "write_bytes", fail_halfway)
        checkpoint.save(EDSR(EDSRConfig(width=16, blocks=1)), weights)
    assert weights.read_bytes() == before and list(weights.parent.iterdir()) == [weights]


def test_others_may_read_what_is_saved(tmp_path):
    (tmp_path / "any").touch()
    checkpoint.save(EDSR(EDSRConfig(width=16, blocks=1)), tmp_path / "edsr.safetensors")
    assert (tmp_path / "edsr.safetensors").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_locate_in_a_folder(weights):
    assert checkpoint.locate(weights.parent, weights.name) == weights
    with pytest.raises(ValueError, match="no vae.safetensors in .*python -m train.vae --data"):
        checkpoint.locate(weights.parent, "vae.safetensors")


def test_locate_on_the_hub(weights, monkeypatch):
    asked = []
    monkeypatch.setattr(checkpoint, "hf_hub_download", lambda *question, revision: asked.append((*question, revision)) or str(weights))
    for source in ("someone/retsynth", "someone/retsynth@v1.0", "someone/retsynth@refs/pr/1"):
        assert checkpoint.locate(source, "edsr.safetensors") == weights
    assert asked == [("someone/retsynth", "edsr.safetensors", revision) for revision in (None, "v1.0", "refs/pr/1")]


@pytest.mark.parametrize(
    "source", ["nowhere", "a/b/c", "a/b@", "nowhere@main", "/nowhere", "./weigths", "../weights", "~/weights", Path("nowhere"), ""]
)
def test_locate_nowhere(source, monkeypatch, tmp_path):
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    monkeypatch.setattr(checkpoint, "hf_hub_download", lambda *question, **named: pytest.fail(f"asked the Hub for {question}"))
    with pytest.raises(ValueError, match="^(?!.*PosixPath).* neither a folder nor a Hub repository|no edsr.safetensors in"):
        checkpoint.locate(source, "edsr.safetensors")


def test_locate_in_a_file(weights, monkeypatch):
    monkeypatch.chdir(weights.parent.parent)
    for source in (weights, f"{weights.parent.name}/{weights.name}"):  # which looks like a repository
        with pytest.raises(ValueError, match="is a file: give the folder"):
            checkpoint.locate(source, "vae.safetensors")


def test_weights_in_any_precision_are_computed_with_in_full(weights):
    rewrite(weights, lambda tensors, metadata: tensors.update({name: value.bfloat16() for name, value in tensors.items()}))
    assert {value.dtype for value in checkpoint.load(EDSR, weights).state_dict().values()} == {torch.float32}


def test_a_hub_that_cannot_be_reached_says_so(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="someone/retsynth"):
        checkpoint.locate("someone/retsynth", "edsr.safetensors")


def test_loading_imports_no_compiler(tiny_weights):
    """torch._dynamo takes as long to import as all the rest, and some ways to make a layer or a buffer without values import it."""
    check = "import sys; from retsynth.pipeline import Pipeline; Pipeline.from_pretrained(sys.argv[1], 'cpu'); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", check, str(tiny_weights)], capture_output=True, text=True, check=True)
    assert "torch.nn" in run.stdout.split() and not {"torch._dynamo", "sympy"} & set(run.stdout.split())


def test_a_layer_is_left_without_values_within_alone():
    with Uninitialised():
        layer = nn.Embedding(2, 3, _weight=torch.full((2, 3), 7.0))
        layer.reset_parameters()
    assert (layer.weight == 7).all()
    layer.reset_parameters()
    assert (layer.weight != 7).all()
