"""The latent scene of one phantom study: everything that is true of it, before image and report.

Image, masks, boxes, labels and report all follow from a :class:`Scene`, so that each task has exact
targets. Coordinates are millimeters at the patient: x to the right of the image (the patient's
left), y downwards, z from the back (negative) to the front; the origin is the carina.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PHANTOM_FINDINGS: tuple[str, ...] = (
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

# Cardiothoracic ratio above which the heart is called enlarged, by view: AP magnifies the heart.
CARDIOMEGALY_RATIO = {"PA": 0.50, "AP": 0.55}


@dataclass(frozen=True, slots=True)
class Finding:
    """One instance of a finding in one patient.

    ``side`` is the patient's: "left", "right", "bilateral" or "". ``zone`` is "upper", "mid",
    "lower" or "". ``severity`` is "small", "moderate", "large" (effusion, pneumothorax) or "mild",
    "moderate", "severe", or "". ``size_mm`` is a nodule's diameter. ``detail`` is the tip
    of a tube, the number of a rib or the kind of an object. ``conspicuity`` in [0, 1] is how easily
    a reader sees the finding.
    """

    name: str
    side: str
    zone: str
    severity: str
    size_mm: float | None = None
    detail: str = ""
    conspicuity: float = 1.0


@dataclass(frozen=True, slots=True)
class Body:
    """Geometry and technique of one exposure. Lengths in mm, angles in degrees.

    Geometry: ``half_width`` and ``half_depth`` are half the inner width and depth of the rib cage;
    ``apex`` is the height of the lungs above the carina; ``dome`` is the top of the right
    hemidiaphragm below it, ``left_dome`` how much lower the left one is; ``fat`` is soft tissue
    over the ribs; ``heart`` scales the heart; ``breast`` is 0 or a size; ``flat`` in [0, 1]
    flattens the diaphragm; ``rib`` is half the height of a rib; ``air`` is the fraction of a lung's
    volume that is not tissue; ``rotation`` turns the patient about the long axis.

    Technique: ``dose`` is photons per mm^2 beside the body; ``level`` shifts the display window;
    ``fov`` is the edge of the square image, ``shift`` moves it over the patient. ``key`` seeds the
    shapes that stay with the patient.
    """

    half_width: float = 140.0
    half_depth: float = 100.0
    apex: float = 98.0
    dome: float = 118.0
    left_dome: float = 14.0
    fat: float = 18.0
    heart: float = 1.0
    breast: float = 0.0
    flat: float = 0.0
    rib: float = 5.8
    rotation: float = 0.0
    air: float = 0.76
    dose: float = 20000.0
    level: float = 0.0
    fov: float = 385.0
    shift: tuple[float, float] = (0.0, 0.0)
    key: int = 1


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that is true of one study.

    ``prior_findings`` are those of the patient's study before, None for the first. ``keys`` seeds
    the shape and position of each finding: a nodule in two studies of a patient has the same key.
    ``noise_key`` seeds what differs between two exposures of one patient.
    """

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
    body: Body = field(default_factory=Body, repr=False)
    noise_key: int = field(default=1, repr=False)

    @property
    def labels(self) -> dict[str, float]:
        """1.0 or 0.0 for each of PHANTOM_FINDINGS."""
        present = {finding.name for finding in self.findings}

        return {name: float(name in present) for name in PHANTOM_FINDINGS}
