"""The 14 CheXpert findings, and what a word means for them."""

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
    """Meaning of a word: ``shows`` are the findings that it states.

    ``denies`` are those that its denial, or a normal state, excludes. ``doubtful``: the sign is
    weak, and the finding stays uncertain where the sign is present. A term that shows none of the
    14 findings is another abnormality: a report with it is not "No Finding".
    """

    shows: tuple[str, ...] = ()
    denies: tuple[str, ...] = ()
    doubtful: bool = False


def symmetric_term(*names: str, doubtful: bool = False) -> Term:
    """A term that shows the findings ``names``, and whose denial excludes the same ones."""
    return Term(names, names, doubtful)
