"""Contrast of whole images with whole reports: CLIP, ConVIRT, GLoRIA, MGCA, PRIOR."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch.nn.functional as F

from place_cxr.losses.instance import instance_alignment
from place_cxr.losses.peers import convirt, gloria_global, mgca_instance
from tests.losses.outputs import outputs
from tests.oracles.oracle import Oracle

Read = Callable[[str], Oracle]


def test_clip(read: Read) -> None:
    oracle = read("open_clip_clip_loss")
    given = {name: oracle.input(name) for name in ("image_global", "text_global", "logit_scale")}
    image, text, scale = given.values()
    loss = instance_alignment(outputs(b=len(image), image=image, text=text, scale=scale))
    oracle.check("loss", loss)
    oracle.check_gradients(loss, given)


def test_prior(read: Read) -> None:
    oracle = read("prior_global_alignment")
    given = {
        name: oracle.input(name) for name in ("image_global", "text_global", "log_logit_scale")
    }
    image, text, scale = given.values()
    rows = [F.normalize(vectors, dim=-1) for vectors in (image, text)]
    loss = instance_alignment(outputs(b=len(image), image=rows[0], text=rows[1], scale=scale.exp()))
    oracle.check("loss", loss)
    oracle.check_gradients(loss, given)


def test_convirt(read: Read) -> None:
    oracle = read("convirt_info_nce_loss")
    given = {name: oracle.input(name) for name in ("image_global", "text_global")}
    image, text = given.values()
    out = outputs(b=len(image), image=image, text=text)
    loss = 2 * convirt(
        out, temperature=oracle.number("temperature"), image_share=0.5
    )  # MGCA's copy adds both
    oracle.check("loss", loss)
    oracle.check_gradients(loss, given)


@pytest.mark.parametrize("name", ["gloria_global_loss", "gloria_global_loss_zero_row"])
def test_gloria(read: Read, name: str) -> None:
    oracle = read(name)
    given = {name: oracle.input(name) for name in ("image_global", "text_global")}
    image, text = given.values()
    loss = gloria_global(
        outputs(b=len(image), image=image, text=text), scale=oracle.number("temp3")
    )
    oracle.check("loss", loss)
    oracle.check_gradients(loss, given)


def test_mgca(read: Read) -> None:
    oracle = read("mgca_ita")
    given = {
        name: oracle.input(name) for name in ("image_global_projected", "report_global_projected")
    }
    image, text = (F.normalize(vectors, dim=-1) for vectors in given.values())
    loss = mgca_instance(
        outputs(b=len(image), image=image, text=text),
        temperature=oracle.number("softmax_temperature"),
    )
    oracle.check("loss", loss)
    oracle.check_gradients(loss, {**given, "image_global": image, "report_global": text})
