"""Segmentation: masks in and out, degenerate answers, and what the mgca profile makes of them."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import RunLengths, Study
from place_cxr.models.image import ImageEncoder, ImageSettings
from place_cxr.tasks.engine import FractionsAndSeeds, ModelOrigin, make_task, run_task
from place_cxr.tasks.masks import MaskCache, from_run_lengths, original_mask, run_lengths
from place_cxr.tasks.predictions import Predictions
from place_cxr.tasks.segmentation import Segmentation

from .conftest import FINDINGS, PACK, VIEW


def task(profile="strict", names=("A",)):
    return Segmentation(Segmentation.Settings(), names, profile)


@settings(max_examples=30)
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.sampled_from([1, 2, 3]))
def test_run_lengths_go_there_and_back(bits, height):
    mask = np.array(bits * height).reshape(height, -1)
    lengths = run_lengths(mask)
    assert sum(lengths) == mask.size and all(lengths[1:])
    np.testing.assert_array_equal(from_run_lengths(lengths, *mask.shape), mask)


def test_masks_are_what_the_model_sees(data):
    cache = MaskCache(data, FINDINGS)
    bright = data.view(torch.from_numpy(data.pack.pixels))[:, 0].numpy() > 0.5
    for row in range(20):
        np.testing.assert_array_equal(cache([row])[0].any(0), bright[row])
    study = Study("s", "x", "", labels={"A": 0.0, "B": 1.0})
    known = SimpleNamespace(studies=[study], pack=data.pack)
    assert not original_mask(known, 0, "A").any()  # absent: nowhere
    assert original_mask(known, 0, "B") is None  # present, but nobody drew it
    assert task(names=("A", "B")).usable(study) and not task(names=("B",)).usable(study)
    assert not task("prior", ("A",)).usable(study)  # positives only
    empty = RunLengths((), 2 * PACK, 2 * PACK)  # as SIIM says that there is nothing
    study = dataclasses.replace(study, masks={"A": empty})
    assert not original_mask(SimpleNamespace(studies=[study], pack=data.pack), 0, "A").any()
    assert task().usable(study) and not task("prior").usable(study)


@pytest.mark.parametrize("size", [(PACK, PACK), (2 * PACK, 2 * PACK + 1)])
def test_a_mask_of_another_size_is_refused(data, size):
    study = Study("s", "x", "", masks={"A": RunLengths((), *size)})
    known = SimpleNamespace(studies=[study], pack=data.pack, view_size=VIEW, source="mine")
    for look in (lambda: original_mask(known, 0, "A"), lambda: MaskCache(known, ("A",))([0])):
        with pytest.raises(PlaceError, match="PL-D258.*mine: a mask of A has"):
            look()


def test_a_head_learns_squares(data, tmp_path):
    """The encoder is random and frozen; the squares are the brightest thing there is."""
    torch.manual_seed(0)
    body = ImageSettings(
        name="resnet18", size=VIEW, local_strides=(8,), options={"channels": [16, 16, 16, 16]}
    )
    encoder = ImageEncoder(body).requires_grad_(False)
    model = SimpleNamespace(image_encoder=encoder, parameters=encoder.parameters)
    made = make_task("segmentation", data.studies, ["steps=40", "lr=1e-2", "checks=2"])
    result = run_task(
        made, model, data, tmp_path, FractionsAndSeeds((1.0,), (0,)), origin=ModelOrigin("m")
    )
    assert set(made.names) == set(FINDINGS)
    assert result.metrics["100%/dice/macro"].value > 0.6
    assert result.metrics["100%/empty kept empty/macro"].value > 0.6
    assert result.metrics["100%/boundary distance/macro"].value < 8


def masks(*regions, size=8):
    """(rows, columns) of squares -> run lengths; None stays."""
    found = []
    for region in regions:
        mask = np.zeros((size, size), bool)
        if region is not None:
            mask[: region[0], : region[1]] = True
        found.append(run_lengths(mask))
    return found


def scored(said, there, profile="strict"):
    n = len(said)
    table = {
        "fraction": [1.0] * n,
        "seed": [0] * n,
        "split": ["test"] * n,
        "row": range(n),
        "patient": range(n),
    }
    table |= {"mask.A": said, "truth.A": there, "height": [8] * n, "width": [8] * n}
    types = {"mask.A": pa.list_(pa.int64()), "truth.A": pa.list_(pa.int64())}
    arrays = {name: pa.array(column, types.get(name)) for name, column in table.items()}
    return task(profile).score(Predictions({"left_out": {}}, pa.table(arrays)))


def value(metrics, name):
    return metrics[f"100%/{name}/A"].value


def test_degenerate_answers_score_as_they_should():
    there = masks((4, 4), (2, 8), None, None, None, None)
    nothing = scored(masks(*[None] * 6), there)
    assert (
        value(nothing, "dice") == value(nothing, "IoU") == 0
        and value(nothing, "empty kept empty") == 1
    )
    assert value(nothing, "boundary distance") is None
    assert "not empty" in nothing["100%/boundary distance/A"].reason
    everything = scored(masks(*[(8, 8)] * 6), there)
    assert (
        value(everything, "dice") == pytest.approx(2 * 16 / (64 + 16))
        and value(everything, "empty kept empty") == 0
    )
    perfect = scored(there, there)
    assert (
        value(perfect, "dice") == value(perfect, "IoU") == value(perfect, "empty kept empty") == 1
    )
    assert value(perfect, "boundary distance") == 0 and perfect["100%/dice/A"].n == 2
    none = scored(masks(None), masks(None))
    assert value(none, "dice") is None and none["100%/dice/A"].reason == "no image where it is"


@pytest.mark.fault("X6")
def test_mgca_lets_empty_masks_score_1_and_averages_batches():
    there = masks((4, 4), *[None] * 19)
    nothing = scored(masks(*[None] * 20), there, "mgca")
    # Two batches, of 16 and of 4: (15 / 16 + 1) / 2, though not one pixel was ever found.
    assert value(nothing, "dice") == pytest.approx((15 / 16 + 1) / 2)
    assert set(nothing) == {
        f"100%/{metric}/{what}" for metric in ("dice", "IoU") for what in ("A", "macro")
    }
    assert value(scored(masks(*[None] * 20), there), "dice") == 0


def test_what_is_not_known_is_not_scored():
    metrics = scored(masks((4, 4), (8, 8)), [*masks((4, 4)), None])
    assert value(metrics, "dice") == 1 and metrics["100%/dice/A"].n == 1


@pytest.mark.parametrize("profile", ["strict", "mgca"])
def test_what_is_not_known_teaches_nothing(profile):
    masks, known = torch.zeros(2, 2, 8, 8), torch.tensor([[True, False], [True, True]])
    masks[0, :, :4] = 1
    logits = torch.zeros(2, 2, 8, 8, requires_grad=True)
    masks[0, 1] = 0  # as the cache gives it
    task(profile, ("A", "B")).loss(logits, {"masks": masks, "known": known}).backward()
    assert (logits.grad[0, 1] == 0).all() and (logits.grad[0, 0] != 0).all()


def test_dice_of_a_name_that_the_batch_lacks_teaches_nothing():
    """Cross-entropy alone does; of the name that is there, both, as the formula says."""
    masks, known = torch.zeros(2, 2, 8, 8), torch.ones(2, 2, dtype=torch.bool)
    masks[0, 0, :4] = 1
    logits = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    chance = logits.sigmoid()
    dice = (2 * (chance * masks)[:, 0].sum() + 1) / (chance[:, 0].sum() + masks[:, 0].sum() + 1)
    entropy = -(masks * chance.log() + (1 - masks) * (1 - chance).log()).mean()
    found = task("strict", ("A", "B")).loss(logits, {"masks": masks, "known": known})
    torch.testing.assert_close(found, entropy + 1 - dice)
    empty = task("strict", ("A", "B")).loss(logits, {"masks": 0 * masks, "known": known})
    torch.testing.assert_close(empty, -(1 - chance).log().mean())


def test_only_the_frozen_mgca_profile_lets_batch_statistics_move():
    cases = {
        (p, m): Segmentation(None, (), p, m).updates_batchnorm
        for p in ("strict", "mgca", "prior")
        for m in ("frozen", "finetune")
    }
    assert [case for case, live in cases.items() if live] == [("mgca", "frozen")]
