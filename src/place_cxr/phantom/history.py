"""Patients: who has which findings, and how these change from study to study.

Everything is a function of (seed, patient, study): the random numbers come from counters, so that
any study can be made alone. A patient has illnesses (heart failure, emphysema, infection, tumor,
injury) and a place of care. Findings follow from them, so that they occur together as in a
hospital. All probabilities are [ours].
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from place_cxr.phantom.chest import cardiothoracic_ratio
from place_cxr.phantom.devices import FOREIGN_OBJECTS, LINE_TIPS, TUBE_TIPS
from place_cxr.phantom.scene import CARDIOMEGALY_RATIO, Body, Finding, Scene

# Studies of the ten patients of one block, shuffled in each block.
STUDIES_OF_PATIENTS = (1, 1, 1, 1, 1, 2, 2, 3, 3, 4)
STUDIES_PER_BLOCK = sum(STUDIES_OF_PATIENTS)
SPLIT_FRACTIONS = (("train", 0.7), ("val", 0.1), ("test", 0.2))

_ACUTE = ("Pleural Effusion", "Pneumothorax", "Consolidation", "Atelectasis", "Edema")
_AMOUNTS = ("small", "moderate", "large")
_GRADES = ("mild", "moderate", "severe")
_BY_AMOUNT = ("Pleural Effusion", "Pneumothorax")


def patient_generator(seed: int, patient: int, stream: int) -> np.random.Generator:
    """Random numbers of one patient, independent for each ``stream``."""
    return np.random.Generator(np.random.Philox(key=[seed % 2**64, (patient << 16) + stream]))


def patient_of(seed: int, index: int) -> tuple[int, int]:
    """The patient of study ``index``, and the study's number among that patient's, both from 0."""
    block, offset = divmod(index, STUDIES_PER_BLOCK)
    counts = patient_generator(seed, block, 1).permutation(STUDIES_OF_PATIENTS)
    ends = np.cumsum(counts)
    patient_in_block = int(np.searchsorted(ends, offset, side="right"))
    first = int(ends[patient_in_block] - counts[patient_in_block])

    return block * len(counts) + patient_in_block, offset - first


def split_of(seed: int, patient: int) -> str:
    """train, val or test by a hash of the patient."""
    digest = hashlib.blake2b(f"{seed}:{patient}".encode(), digest_size=8).digest()
    position = int.from_bytes(digest, "big") / 2**64

    for name, fraction in SPLIT_FRACTIONS[:-1]:
        if position < fraction:
            return name
        position -= fraction

    return SPLIT_FRACTIONS[-1][0]


@dataclass(frozen=True, slots=True)
class _PatientTraits:
    """What does not change between the studies of a patient."""

    sex: str
    age: int
    care: str
    heart_failure: bool
    emphysema: bool
    infection: bool
    tumor: bool
    injury: bool
    healthy: bool
    site: str


@dataclass(frozen=True, slots=True)
class _KeyedFinding:
    finding: Finding
    key: int


def _draw_traits(rng: np.random.Generator) -> _PatientTraits:
    sex = "F" if rng.random() < 0.48 else "M"
    care = str(rng.choice(("out", "ward", "unit"), p=(0.52, 0.28, 0.20)))
    healthy = rng.random() < {"out": 0.34, "ward": 0.08, "unit": 0.0}[care]
    age = int(np.clip(rng.normal(46 if healthy else 61, 16), 18, 94))

    # Heart failure, emphysema, infection, tumor, injury.
    old = 1.25 if age > 60 else 0.75
    draws = rng.random(5)
    probabilities = np.array((0.22 * old, 0.20 * old, 0.26, 0.21 * old, 0.20))
    failure, emphysema, infection, tumor, injury = (
        (draws < probabilities) & (not healthy)
    ).tolist()
    site = "A" if rng.random() < 0.6 else "B"

    return _PatientTraits(
        sex, age, care, failure, emphysema, infection, tumor, injury, healthy, site
    )


def _side(rng: np.random.Generator, both: float) -> str:
    if rng.random() < both:
        return "bilateral"
    return "left" if rng.random() < 0.5 else "right"


def _draw_finding(name: str, rng: np.random.Generator, traits: _PatientTraits) -> Finding:
    """A finding of ``name`` as it first appears."""
    # Every finding draws these, whether it needs them or not.
    grade = int(rng.choice(3, p=(0.42, 0.36, 0.22)))
    severity = (_AMOUNTS if name in _BY_AMOUNT else _GRADES)[grade]
    conspicuity = float(np.clip(rng.beta(2.2, 1.5) * (0.8 + 0.15 * grade), 0.08, 1))
    zone = str(rng.choice(("upper", "mid", "lower")))

    # Findings with a severity.
    if name == "Pleural Effusion":
        side = _side(rng, 0.45 if traits.heart_failure else 0.15)
        return Finding(name, side, "lower", severity, conspicuity=conspicuity)
    if name == "Pneumothorax":
        return Finding(name, _side(rng, 0.0), "upper", severity, conspicuity=conspicuity)
    if name == "Consolidation":
        zone = str(rng.choice(("upper", "mid", "lower"), p=(0.25, 0.25, 0.5)))
        return Finding(name, _side(rng, 0.12), zone, severity, conspicuity=conspicuity)
    if name == "Atelectasis":
        side = _side(rng, 0.25 if grade < 2 else 0.0)
        return Finding(name, side, "lower", severity, conspicuity=conspicuity)
    if name == "Edema":
        return Finding(name, "bilateral", "", severity, conspicuity=conspicuity)

    # A nodule has a diameter, mm; from 30 on it is a mass.
    if name == "Nodule":
        size = float(np.round(np.clip(rng.lognormal(2.75, 0.42), 7, 55)))
        conspicuity = float(np.clip(0.25 + 0.03 * size + rng.normal(0, 0.15), 0.08, 1))
        detail = "mass" if size > 30 else "nodule"
        return Finding(name, _side(rng, 0.0), zone, "", size, detail, conspicuity)
    if name == "Emphysema":
        return Finding(name, "bilateral", "upper", severity, conspicuity=conspicuity)

    # Findings with a detail: the rib, the tip, the kind.
    if name == "Rib Fracture":
        number = int(rng.integers(4, 9))
        zone = "upper" if number < 5 else "mid" if number < 7 else "lower"
        return Finding(name, _side(rng, 0.0), zone, "", None, f"{number}th", conspicuity)
    if name == "Pacemaker":
        return Finding(name, "left" if rng.random() < 0.85 else "right", "upper", "", None, "", 1.0)
    if name == "Central Line":
        tip = str(rng.choice(tuple(LINE_TIPS), p=(0.55, 0.25, 0.20)))
        side = "right" if rng.random() < 0.7 else "left"
        return Finding(name, side, "", "", None, tip, conspicuity)
    if name == "Endotracheal Tube":
        tip = str(rng.choice(tuple(TUBE_TIPS), p=(0.74, 0.13, 0.13)))
        return Finding(name, "", "", "", None, tip, conspicuity)

    # Coins and necklaces lie in the midline.
    kind = str(rng.choice(FOREIGN_OBJECTS))
    if kind in ("coin", "necklace"):
        zone = "upper" if kind == "necklace" else zone
        return Finding(name, "", zone, "", None, kind, max(conspicuity, 0.3))

    return Finding(name, _side(rng, 0.0), zone, "", None, kind, max(conspicuity, 0.25))


def _first_findings(traits: _PatientTraits, rng: np.random.Generator) -> list[_KeyedFinding]:
    """Findings at the first study."""
    if traits.healthy:
        return []

    unit, ward = traits.care == "unit", traits.care == "ward"
    sick = 0.22 if unit else 0.09 if ward else 0.03
    probabilities = {
        "Pleural Effusion": sick
        + 0.34 * traits.heart_failure
        + 0.20 * traits.infection
        + 0.14 * (traits.tumor or traits.injury),
        "Pneumothorax": 0.03 + 0.06 * unit + 0.34 * traits.injury + 0.20 * traits.emphysema,
        "Consolidation": 0.6 * sick + 0.62 * traits.infection,
        "Atelectasis": 1.1 * sick + 0.03,
        "Edema": 0.6 * sick + 0.48 * traits.heart_failure,
        "Nodule": 0.03 + 0.64 * traits.tumor + 0.12 * traits.emphysema,
        "Emphysema": 0.85 * traits.emphysema,
        "Rib Fracture": 0.04 + 0.66 * traits.injury,
        "Pacemaker": 0.07 * (traits.age > 55) + 0.22 * traits.heart_failure,
        "Central Line": 0.66 * unit + 0.16 * ward,
        "Endotracheal Tube": 0.62 * unit,
        "Foreign Object": 0.11 + 0.10 * traits.injury,
    }

    keyed: list[_KeyedFinding] = []
    for name, probability in probabilities.items():
        # An effusion compresses the lung beside it.
        drawn = {item.finding.name for item in keyed}
        extra = 0.28 if name == "Atelectasis" and "Pleural Effusion" in drawn else 0.0
        if name == "Edema" and "Emphysema" in drawn:
            extra -= 0.2

        count = int(rng.integers(1, 4)) if name == "Nodule" and rng.random() < 0.25 else 1
        count = 2 if name == "Rib Fracture" and rng.random() < 0.4 else count
        if rng.random() < probability + extra:
            keyed.extend(_with_key(_draw_finding(name, rng, traits), rng) for _ in range(count))

    return keyed


def _with_key(finding: Finding, rng: np.random.Generator) -> _KeyedFinding:
    return _KeyedFinding(finding, int(rng.integers(1, 2**62)))


def _next_findings(
    previous: list[_KeyedFinding], traits: _PatientTraits, rng: np.random.Generator
) -> list[_KeyedFinding]:
    """Findings at the study after one with ``previous``.

    Acute findings become better or worse, nodules grow, devices and objects may be removed, and new
    findings appear. All others stay as they are.
    """
    kept: list[_KeyedFinding] = []
    for item in previous:
        finding, name = item.finding, item.finding.name
        draw = rng.random()

        if name in _ACUTE:
            scale = _AMOUNTS if name in _BY_AMOUNT else _GRADES
            grade = scale.index(finding.severity) + (draw < 0.28) - (draw > 0.55)
            if grade < 0:
                continue
            item = replace(item, finding=replace(finding, severity=scale[min(grade, 2)]))
        elif name == "Nodule" and finding.size_mm is not None and draw < 0.4:
            size = float(np.round(min(finding.size_mm * rng.uniform(1.1, 1.5), 60)))
            grown = replace(finding, size_mm=size, detail="mass" if size > 30 else "nodule")
            conspicuity = min(1.0, finding.conspicuity + 0.1)
            item = replace(item, finding=replace(grown, conspicuity=conspicuity))
        elif name in ("Endotracheal Tube", "Central Line", "Foreign Object") and draw < 0.4:
            continue

        kept.append(item)

    present = {item.finding.name for item in kept}
    kept.extend(
        item
        for item in _first_findings(traits, rng)
        if item.finding.name not in present and rng.random() < 0.35
    )

    return kept


def _draw_body(
    traits: _PatientTraits,
    view: str,
    keyed: list[_KeyedFinding],
    seed: int,
    patient: int,
    study: int,
) -> Body:
    """The body of the patient, with the position, the breath and the exposure of this study."""
    # What stays with the patient comes from ``rng``, what changes from ``study_rng``.
    rng = patient_generator(seed, patient, 3)
    study_rng = patient_generator(seed, patient, 64 + study)

    woman = traits.sex == "F"
    size = rng.normal(0, 1)
    fat = float(np.clip(rng.normal(18, 8), 6, 42))
    width = (129 if woman else 144) + 6 * size
    depth = (90 if woman else 101) + 5 * rng.normal()
    apex = (90 if woman else 99) + 4 * size
    dome = (108 if woman else 118) + 5 * size
    breast = float(np.clip(rng.normal(1.0, 0.2) + 0.006 * (fat - 18), 0.55, 1.5)) if woman else 0.0
    air = float(np.clip(rng.normal(0.76, 0.02), 0.7, 0.82))
    breath = study_rng.normal(0, 6) - (16 if view == "AP" else 0)

    # Findings that change the shape: emphysema, and the raised dome of a severe atelectasis.
    by_name = {item.finding.name: item.finding for item in keyed}
    flat = 0.0
    if "Emphysema" in by_name:
        grade = _GRADES.index(by_name["Emphysema"].severity)
        flat = (0.12, 0.45, 0.8)[grade]
        breath = breath + 3 + 12 * grade
        depth *= 1.01 + 0.05 * grade
        air += 0.004 + 0.02 * grade
    left_dome = float(np.clip(rng.normal(13, 4), 4, 22))
    for item in keyed:
        if item.finding.name == "Atelectasis" and item.finding.severity == "severe":
            left_dome += -20 if item.finding.side == "left" else 12
            breath -= 0 if item.finding.side == "left" else 14

    fov = 2.66 * width + rng.uniform(-6, 10) + 0.4 * (fat - 18)
    body = Body(
        half_width=width,
        half_depth=depth,
        apex=apex,
        dome=dome + float(np.clip(breath, -34, 36)),
        left_dome=left_dome,
        fat=fat,
        breast=breast,
        flat=flat,
        rib=rng.uniform(5.2, 6.3) * width / 142,
        rotation=float(np.clip(study_rng.normal(0, 2.2 if view == "PA" else 4.5), -9, 9)),
        air=air - (0.025 if view == "AP" else 0),
        dose=20000.0 * float(np.exp(study_rng.normal(0, 0.35))),
        level=float(study_rng.normal(0, 0.10)),
        fov=fov,
        shift=(float(study_rng.normal(0, 5)), float(study_rng.normal(0, 6))),
        key=int(rng.integers(1, 2**62)),
    )

    # The cardiothoracic ratio on a PA film is drawn, and the heart is scaled to give it: by
    # bisection, because the ratio has no simple inverse.
    large = traits.heart_failure or rng.random() < (0.06 if traits.age < 60 else 0.12)
    target_ratio = (
        0.502 + 0.16 * rng.beta(1.1, 1.6)
        if large and not traits.healthy
        else rng.uniform(0.39, 0.496)
    )
    target_ratio -= 0.025 * flat

    upright = replace(body, rotation=0.0)
    low, high = 0.6, 2.0
    for _ in range(14):
        middle = (low + high) / 2
        if cardiothoracic_ratio(replace(upright, heart=middle), "PA") < target_ratio:
            low = middle
        else:
            high = middle

    return replace(body, heart=(low + high) / 2)


def make_scene(seed: int, index: int) -> Scene:
    """The scene of study ``index``; its prior findings are those of the patient's study before."""
    patient, study = patient_of(seed, index)
    traits = _draw_traits(patient_generator(seed, patient, 2))
    keyed: list[_KeyedFinding] = []
    prior: tuple[Finding, ...] | None = None
    scene: Scene | None = None

    # From the first study on: each one depends on the findings of the one before.
    for number in range(study + 1):
        rng = patient_generator(seed, patient, 16 + number)
        keyed = _first_findings(traits, rng) if number == 0 else _next_findings(keyed, traits, rng)

        bedside = {"out": 0.03, "ward": 0.35, "unit": 1.0}[traits.care]
        intubated = any(item.finding.name == "Endotracheal Tube" for item in keyed)
        view = "AP" if intubated or rng.random() < bedside else "PA"
        body = _draw_body(traits, view, keyed, seed, patient, number)

        # Cardiomegaly is not drawn: it follows from the heart's size.
        ratio = cardiothoracic_ratio(body, view)
        excess = ratio - CARDIOMEGALY_RATIO[view]
        shown = list(keyed)
        if excess > 0:
            grade = _GRADES[0 if excess < 0.05 else 1 if excess < 0.10 else 2]
            conspicuity = float(np.clip(0.25 + 7 * excess, 0, 1))
            large_heart = Finding("Cardiomegaly", "", "", grade, conspicuity=conspicuity)
            shown.insert(0, _KeyedFinding(large_heart, body.key))

        scene = Scene(
            patient=f"P{patient:06d}",
            study=f"S{index - study + number:06d}",
            view=view,
            sex=traits.sex,
            age=traits.age + number // 2,
            site=traits.site,
            findings=tuple(item.finding for item in shown),
            cardiothoracic_ratio=ratio,
            prior_findings=prior,
            keys=tuple(item.key for item in shown),
            body=body,
            noise_key=int(rng.integers(1, 2**62)),
        )
        prior = scene.findings

    assert scene is not None
    return scene
