"""What a trained model is evaluated on, and the numbers that come out."""

from __future__ import annotations

from place_cxr.core.task_text import TaskText
from place_cxr.tasks.classification import Classification
from place_cxr.tasks.detection import Detection
from place_cxr.tasks.grounding import Grounding
from place_cxr.tasks.report_generation import ReportGeneration
from place_cxr.tasks.retrieval import Retrieval
from place_cxr.tasks.segmentation import Segmentation
from place_cxr.tasks.task import Task
from place_cxr.tasks.zero_shot import ZeroShotClassification

# In the order in which a page shows them.
TASKS: dict[str, type[Task]] = {
    "zero-shot": ZeroShotClassification,
    "classification": Classification,
    "retrieval": Retrieval,
    "grounding": Grounding,
    "segmentation": Segmentation,
    "detection": Detection,
    "report-generation": ReportGeneration,
}


def task_texts() -> dict[str, TaskText]:
    """How each task is explained, by its name: for pages and tables."""
    return {name: task.text for name, task in TASKS.items()}
