"""What a trained model is asked to do, and the numbers that come out."""

from __future__ import annotations

from place_cxr.tasks.classification import Classification
from place_cxr.tasks.detection import Detection
from place_cxr.tasks.grounding import Grounding
from place_cxr.tasks.report_generation import ReportGeneration
from place_cxr.tasks.retrieval import Retrieval
from place_cxr.tasks.segmentation import Segmentation
from place_cxr.tasks.task import Task
from place_cxr.tasks.zero_shot import ZeroShotClassification

TASKS: dict[str, type[Task]] = {
    "classification": Classification,
    "segmentation": Segmentation,
    "detection": Detection,
    "report-generation": ReportGeneration,
    "retrieval": Retrieval,
    "zero-shot": ZeroShotClassification,
    "grounding": Grounding,
}
