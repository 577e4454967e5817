"""The latent scene: everything that is true of one phantom study, before a pixel or a word is made.

Image, masks, boxes, labels and report all follow from a :class:`Scene`, so each task has exact
truth. Coordinates are millimetres at the patient: x to the image's right (the patient's left), y
downwards, z from the back (negative) to the front, origin at the carina.
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

CARDIOMEGALY_RATIO = {
    "PA": 0.50,
    "AP": 0.55,
}  # above it the heart is called enlarged; AP magnifies the heart


@dataclass(frozen=True, slots=True)
class Finding:
    """One instance of a finding in one patient.

    ``side`` is the patient's: "left", "right", "bilateral" or "". ``zone`` is "upper", "mid",
    "lower" or "". ``severity`` is "small", "moderate", "large" (effusion, pneumothorax) or "mild",
    "moderate", "severe", or "". ``size_mm`` is a nodule's diameter. ``detail`` holds what else a
    report may tell: a tube's tip, the number of a rib, the kind of an object. ``conspicuity`` in
    [0, 1] is how easily a reader sees it.
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

    ``half_width`` is half the inner width of the rib cage, ``half_depth`` of its depth, ``apex``
    how far the lungs reach above the carina, ``dome`` the top of the right hemidiaphragm below it,
    ``left_dome`` how much lower the left one stands. ``fat`` is soft tissue over the ribs;
    ``heart`` scales the heart; ``breast`` is 0 or a size; ``flat`` in [0, 1] flattens the
    diaphragm; ``rib`` is half a rib's height. ``rotation`` turns the patient about the long axis.
    ``air`` is the part of a lung's volume that is not tissue. ``dose`` is photons for each mm^2
    where no body is, ``level`` shifts the display window. ``fov`` is the edge of the square image,
    ``shift`` moves it over the patient.
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
    """One study's truth. ``prior_findings`` is what the same patient's study before showed, None
    for the first.

    ``keys`` holds one number for each finding, from which its shape and place follow: a nodule seen
    twice in a patient has the same key twice. ``noise_key`` seeds what differs between two
    exposures of one patient.
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
        """1.0 or 0.0 for each of FINDINGS."""
        present = {finding.name for finding in self.findings}
        return {name: float(name in present) for name in PHANTOM_FINDINGS}
