"""What a report can speak of: the 14 findings, and what a word says of them."""

from __future__ import annotations

from dataclasses import dataclass

CHEXPERT_FINDINGS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
LUNG_FINDINGS = (
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
)
ACUTE_CHEXPERT_FINDINGS = (
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Pneumothorax",
    "Pleural Effusion",
)
CHEST_FINDINGS = CHEXPERT_FINDINGS[1:-1]


@dataclass(frozen=True, slots=True)
class Term:
    """Findings that a word states (``shows``), and those that its denial, or a normal state,
    excludes (``denies``).

    ``doubtful``: the sign is weak; stated as present, the finding is still uncertain. A term that
    shows none of the 14 findings is another abnormality: with it, a report is not "No Finding".
    """

    shows: tuple[str, ...] = ()
    denies: tuple[str, ...] = ()
    doubtful: bool = False


def symmetric_term(*names: str, doubtful: bool = False) -> Term:
    """A term that shows, or denied excludes, the same findings."""
    return Term(names, names, doubtful)
