import pytest
import torch
from sklearn.metrics import roc_auc_score

from train.data import read_drive
from train.reader import reading_loss, train_reader


@pytest.fixture(scope="module")
def reader(tiny_drive):
    return train_reader(read_drive(tiny_drive, "training", size=256), seed=0, steps=60, crop=96)


@pytest.fixture(scope="module")
def photograph(tiny_drive):
    drive = read_drive(tiny_drive, "test", size=128)
    return drive.fundus[:1], (drive.vessels[:1] > 0.5).float(), drive.fov[:1] > 0.5


def test_vessels_of_other_photographs_are_read(reader, photograph):
    fundus, vessels, fov = photograph
    assert roc_auc_score(vessels[fov], reader(fundus)[fov]) > 0.9


def test_another_tint_is_read_as_well(reader, photograph):
    fundus, vessels, _ = photograph
    own, tinted = (float(reading_loss(reader(x), vessels)) for x in (fundus, fundus * torch.tensor([0.9, 1.1, 1.2])[:, None, None]))
    assert tinted < 1.2 * own


def test_fainter_vessels_and_vessels_that_nobody_drew_cost_more(reader, photograph):
    fundus, vessels, _ = photograph
    ground = fundus.clone()
    for _ in range(12):  # the vessels closed from their sides
        ground = torch.where(vessels > 0, torch.nn.functional.max_pool2d(ground, 3, 1, 1), ground)
    own, faint, none = (float(reading_loss(reader(torch.lerp(fundus, ground, share)), vessels)) for share in (0.0, 0.5, 1.0))
    assert own < faint < none
    assert reading_loss(reader(fundus), vessels * (torch.arange(128) < 64)) > own


def test_the_loss_pulls_at_the_image_and_not_at_the_reader(reader, photograph):
    fundus, vessels, _ = photograph
    image = fundus.clone().requires_grad_()
    reading_loss(reader(image), vessels).backward()
    assert image.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in reader.parameters())
