"""The words for parts of the body, of which a report states a condition: "enlarged", "normal".

The notation is that of ``findings``.
"""

from __future__ import annotations

from place_cxr.text.labeler.terms import CHEST_FINDINGS, LUNG_FINDINGS, Term, symmetric_term

_HEART_AND_MEDIASTINUM = ("Enlarged Cardiomediastinum", "Cardiomegaly")
# Part of the body -> what it shows when enlarged and denies when normal or clear, and its words.
BODY_PART_WORDS: dict[str, tuple[Term, str]] = {
    # Heart and mediastinum: enlarged they are a finding.
    "heart": (
        symmetric_term("Cardiomegaly"),
        """
        heart|cardiac
        heart|cardiac size|silhouette|shadow|contour|contours|configuration
        size|silhouette of the heart
        """,
    ),
    "cardiomediastinum": (
        symmetric_term(*_HEART_AND_MEDIASTINUM),
        """
        cardiomediastinal|cardiomediastinum
        cardiomediastinal silhouette|silhouettes|contour|contours|structures
        cardio|cardia mediastinal silhouette|silhouettes|contour|contours|structures|
        """,
    ),
    "mediastinum": (
        symmetric_term("Enlarged Cardiomediastinum"),
        """
        mediastinum|mediastinal
        superior|upper| mediastinal|mediastinum silhouette|contour|contours|structures|
        """,
    ),
    # Lungs and pleura: only their normal state says something.
    "lungs": (
        Term(denies=LUNG_FINDINGS),
        """
        lungs|lung fields|field|parenchyma|
        both lungs|lung
        """,
    ),
    "pleura": (
        Term(denies=("Pneumothorax", "Pleural Effusion", "Pleural Other")),
        "pleural spaces|space|surfaces|surface",
    ),
    # Signs too weak to state a finding: a blunted angle, engorged vessels.
    "angles": (
        Term(("Pleural Effusion",), ("Pleural Effusion",), doubtful=True),
        "costophrenic|cp angle|angles|sulcus|sulci|recesses|xxxx",
    ),
    "vessels": (
        symmetric_term("Edema", doubtful=True),
        """
        pulmonary| vasculature|vascularity
        pulmonary|central|perihilar|lung vessels|vasculature
        pulmonary vascular pattern|markings|
        vascular markings|pattern
        """,
    ),
    # Normal bones exclude a fracture, a normal chest every finding but a device.
    "bones": (
        Term(denies=("Fracture",)),
        """
        bones|ribs|skeleton
        bony|osseous|skeletal structures|thorax
        imaged|visualized bones|skeleton|osseous|bony structures|thorax|
        """,
    ),
    "chest": (
        Term(denies=CHEST_FINDINGS),
        """
        chest
        chest radiograph|x|film|examination|xray ray|
        examination|radiograph of the chest|
        radiographic examination of the chest
        """,
    ),
    # Parts whose state decides none of the 14 findings.
    "elsewhere": (
        Term(),
        """
        hilum|hila|hilar|aorta|aortic|trachea|tracheal|azygos|spine|thyroid
        diaphragm|hemidiaphragm|hemidiaphragms
        left|right lung
        lung volumes|volume|bases|base|apex|apices|markings|zone|lobe
        pulmonary artery|arteries
        lymph node|nodes
        soft tissues|tissue
        abdomen|stomach|bowel|gas|bubble
        chest wall
        left|right heart border
        left|right atrium|ventricle|ventricular|atrial
        disc|joint spaces|space
        vertebral body|bodies
        """,
    ),
}
