"""The latent scene: everything that is true of one phantom study, before a pixel or a word is made.

Image, masks, boxes, labels and report all follow from a :class:`Scene`, so each task has exact truth. Coordinates are
millimetres at the patient: x to the image's right (the patient's left), y downwards, z from the back (negative) to the
front, origin at the carina.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FINDINGS: tuple[str, ...] = (
    "Pleural Effusion",
    "Pneumothorax",
    "Consolidation",
    "Atelectasis",
    "Edema",
    "Cardiomegaly",
    "Nodule",
    "Emphysema",
    "Rib Fracture",
    "Pacemaker",
    "Central Line",
    "Endotracheal Tube",
    "Foreign Object",
)

CARDIOMEGALY_RATIO = {"PA": 0.50, "AP": 0.55}  # above it the heart is called enlarged; AP magnifies the heart


@dataclass(frozen=True, slots=True)
class Finding:
    """One instance of a finding in one patient.

    ``side`` is the patient's: "left", "right", "bilateral" or "". ``zone`` is "upper", "mid", "lower" or "".
    ``severity`` is "small", "moderate", "large" (effusion, pneumothorax) or "mild", "moderate", "severe", or "".
    ``size_mm`` is a nodule's diameter. ``detail`` holds what else a report may tell: a tube's tip, the number of a
    rib, the kind of an object. ``conspicuity`` in [0, 1] is how easily a reader sees it.
    """

    name: str
    side: str
    zone: str
    severity: str
    size_mm: float | None = None
    detail: str = ""
    conspicuity: float = 1.0


@dataclass(frozen=True, slots=True)
class Scene:
    """One study's truth. ``prior_findings`` is what the same patient's study before showed, None for the first."""

    patient: str
    study: str
    view: str
    sex: str
    age: int
    site: str
    findings: tuple[Finding, ...]
    cardiothoracic_ratio: float
    prior_findings: tuple[Finding, ...] | None = None
    keys: tuple[int, ...] = field(default=(), repr=False)

    @property
    def labels(self) -> dict[str, float]:
        """1.0 or 0.0 for each of FINDINGS."""
        present = {finding.name for finding in self.findings}
        return {name: float(name in present) for name in FINDINGS}
