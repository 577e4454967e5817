"""Patients, splits, prevalences and what occurs together."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import pytest

from place_cxr.phantom.history import STUDIES_PER_BLOCK, make_scene, patient_of, split_of
from place_cxr.phantom.scene import CARDIOMEGALY_RATIO, PHANTOM_FINDINGS, Scene

COUNT = 1200


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_scene(4, index) for index in range(COUNT)]


def test_studies_of_a_patient_are_consecutive_and_numbered() -> None:
    before = (-1, 0)
    for index in range(6 * STUDIES_PER_BLOCK):
        patient, number = patient_of(2, index)
        assert (patient, number) == ((before[0], before[1] + 1) if number else (before[0] + 1, 0))
        assert number < 4
        before = (patient, number)


def test_prior_is_the_study_before(scenes: list[Scene]) -> None:
    several = 0
    for before, scene in zip(scenes, scenes[1:], strict=False):
        if scene.patient == before.patient:
            several += 1
            assert scene.prior_findings == before.findings
            assert (scene.sex, scene.site) == (before.sex, before.site)
            assert scene.age >= before.age
        else:
            assert scene.prior_findings is None
    assert several > COUNT / 4


def test_findings_evolve(scenes: list[Scene]) -> None:
    resolved: set[str] = set()
    new: set[str] = set()
    for scene in (scene for scene in scenes if scene.prior_findings):
        before = {finding.name for finding in scene.prior_findings or ()}
        after = {finding.name for finding in scene.findings}
        resolved |= before - after
        new |= after - before
        # These never go away.
        for name in ("Emphysema", "Pacemaker", "Rib Fracture"):
            if name in before:
                assert scene.labels[name] == 1

    assert resolved and new


def test_what_stays_keeps_its_place() -> None:
    for index in range(300):
        first, second = make_scene(1, index), make_scene(1, index + 1)
        if first.patient == second.patient:
            kept = {
                k for f, k in zip(first.findings, first.keys, strict=True) if f.name == "Nodule"
            }
            assert kept <= set(second.keys)


def test_breath_exposure_and_position_change_from_study_to_study() -> None:
    scenes = [make_scene(1, index) for index in range(61)]
    first, second = next(
        (one, two)
        for one, two in pairwise(scenes)
        if one.patient == two.patient
        and one.view == two.view == "PA"
        and not one.findings
        and not two.findings
    )

    for name in ("dome", "rotation", "dose", "level", "shift"):
        assert getattr(first.body, name) != getattr(second.body, name)
    for name in ("half_width", "apex", "key", "rib"):
        assert getattr(first.body, name) == getattr(second.body, name)
    assert first.noise_key != second.noise_key


def test_labels_follow_from_the_scene(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert list(scene.labels) == list(PHANTOM_FINDINGS)
        assert {name for name, value in scene.labels.items() if value} == {
            f.name for f in scene.findings
        }
        large = scene.cardiothoracic_ratio > CARDIOMEGALY_RATIO[scene.view]
        assert scene.labels["Cardiomegaly"] == float(large)
        assert len(scene.keys) == len(scene.findings)
        for finding in scene.findings:
            assert 0 < finding.conspicuity <= 1
            assert (finding.size_mm is not None) == (finding.name == "Nodule")


@pytest.mark.parametrize("seed", [0, 4])
def test_every_finding_is_common_enough_and_many_studies_are_normal(seed: int) -> None:
    scenes = [make_scene(seed, index) for index in range(COUNT)]
    for name in PHANTOM_FINDINGS:
        fraction = sum(scene.labels[name] for scene in scenes) / COUNT
        assert 0.05 < fraction < 0.28, name
    assert 0.2 < sum(not scene.findings for scene in scenes) / COUNT < 0.36


def test_findings_occur_together_as_in_a_hospital(scenes: list[Scene]) -> None:
    def fraction(name: str, given: str, value: float = 1.0) -> float:
        chosen = [scene for scene in scenes if scene.labels[given] == value]
        return sum(scene.labels[name] for scene in chosen) / len(chosen)

    for name, given in (
        ("Edema", "Cardiomegaly"),
        ("Pleural Effusion", "Edema"),
        ("Central Line", "Endotracheal Tube"),
        ("Atelectasis", "Pleural Effusion"),
        ("Nodule", "Emphysema"),
        ("Pneumothorax", "Rib Fracture"),
    ):
        assert fraction(name, given) > 1.3 * fraction(name, given, 0.0), (name, given)
    assert all(scene.view == "AP" for scene in scenes if scene.labels["Endotracheal Tube"])


def test_splits_are_by_patient_and_near_their_fractions(scenes: list[Scene]) -> None:
    splits = defaultdict(set)
    for index in range(COUNT):
        patient = patient_of(4, index)[0]
        splits[split_of(4, patient)].add(patient)
    assert not splits["train"] & splits["val"] and not splits["train"] & splits["test"]
    assert not splits["val"] & splits["test"]
    patients = sum(map(len, splits.values()))
    for name, expected in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        assert len(splits[name]) / patients == pytest.approx(expected, abs=0.05)


def test_views_sexes_ages_and_sites_vary(scenes: list[Scene]) -> None:
    for kind, least in (("view", 0.2), ("sex", 0.35), ("site", 0.3)):
        values = [getattr(scene, kind) for scene in scenes]
        assert len(set(values)) == 2
        assert min(values.count(value) for value in set(values)) / COUNT > least
    assert min(scene.age for scene in scenes) < 30 and max(scene.age for scene in scenes) > 80


def test_seeds_differ() -> None:
    assert [make_scene(1, i).findings for i in range(40)] != [
        make_scene(2, i).findings for i in range(40)
    ]
