"""Contrast of clusters: MGCA's prototypes (CPA) and their balanced assignment."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch.nn.functional as F

from place_cxr.losses.prototype import mgca_prototype, sinkhorn, soft_cross_entropy
from tests.losses.outputs import outputs
from tests.oracles.oracle import Oracle

Read = Callable[[str], Oracle]

CODES = 1e-6  # the original hands its codes on in single precision, also in the double run
LOSS = 1e-7


def test_sinkhorn_with_500_prototypes(read: Read) -> None:
    oracle = read("mgca_sinkhorn_500_prototypes")
    scores, iterations = oracle.input("scores"), int(oracle.number("sinkhorn_iterations"))
    oracle.check("codes", sinkhorn(scores, oracle.number("epsilon"), iterations), CODES)


@pytest.mark.parametrize("iterations", [0, 1, 10])
def test_codes_after_some_iterations(read: Read, iterations: int) -> None:
    oracle = read("mgca_cpa")
    scores = (
        F.normalize(oracle.input("image_global_projected"), dim=-1) @ oracle.input("prototypes").T
    )
    oracle.check(
        f"image_codes_{iterations}_iterations",
        sinkhorn(scores, oracle.number("epsilon"), iterations),
        CODES,
    )


def test_prototype_alignment(read: Read) -> None:
    oracle = read("mgca_cpa")
    given = {
        name: oracle.input(name) for name in ("image_global_projected", "report_global_projected")
    }
    prototypes = F.normalize(oracle.input("prototypes_raw"), dim=-1)
    oracle.check("prototypes", prototypes, CODES)
    image, report = (F.normalize(vectors, dim=-1) for vectors in given.values())
    settings = {
        "temperature": oracle.number("proto_temperature"),
        "epsilon": oracle.number("epsilon"),
        "iterations": int(oracle.number("sinkhorn_iterations")),
    }
    out = outputs(b=len(image), image=image, text=report, prototypes=prototypes)
    loss = mgca_prototype(out, **settings)
    oracle.check("loss", loss, LOSS)
    leaves = {**given, "image_global": image, "report_global": report, "prototypes": prototypes}
    oracle.check_gradients(loss, leaves, CODES)

    scores = {"image": image @ prototypes.T, "report": report @ prototypes.T}
    codes = {
        name: sinkhorn(value, settings["epsilon"], settings["iterations"])
        for name, value in scores.items()
    }
    for name, other in (("image", "report"), ("report", "image")):
        oracle.check(f"{name}_codes", codes[name], CODES)
        part = soft_cross_entropy(codes[name], scores[other], settings["temperature"])
        oracle.check(f"loss_{name}_codes_on_{other}", part, LOSS)
