"""What the page says in plain words about tasks, metrics, losses and controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NOTICE = "Research use only. Not a medical device. Do not use for diagnosis."


@dataclass(frozen=True, slots=True)
class Block:
    """Metrics shown together with a plot: those that match ``pattern`` (``*`` in one of three parts names the rows)."""

    title: str
    says: str
    pattern: str
    guess: float | str | None = None  # what guessing scores: one number, or "k of n" for R@k among n candidates
    rows: Mapping[str, str] = field(default_factory=dict)  # names of rows, where ROWS says something else


@dataclass(frozen=True, slots=True)
class TaskWords:
    """A task for people who never heard of it."""

    title: str
    says: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Headline:
    """One of the numbers at the top of the page."""

    task: str
    metric: str
    title: str
    says: str
    guess: float | str | None = None  # as for a block
    trivial: str = ""  # metric of an answer that needs no network
    trivial_name: str = ""


_AUROC = (
    "The score (AUROC) is the chance that a picture with the finding is ranked above one without it: "
    "0.5 is guessing, 1 is perfect."
)

_RANKS = {"1": "First (R@1)", "5": "Among the first 5 (R@5)", "10": "Among the first 10 (R@10)"}

_MAPS = {
    "observation": "Observations (V-PORs) that the sentence picks",
    "instance": "Places that are like the sentence",
    "centre": "Middle of the named side (no network)",
    "uniform": "Same everywhere (no network)",
}

TASKS = {
    "zero-shot": TaskWords(
        "Finding conditions from words alone",
        "No label was ever shown to the network. A picture is held against sentences such as “There is a pleural "
        f"effusion.” and “No pleural effusion.”, and the better fit wins. {_AUROC}",
        (
            Block("Every finding", "One row per finding, the mean over findings first.", "mix/auroc/*", 0.5),
            Block(
                "Two ways to compare picture and words",
                "The whole picture with the whole sentence, the picture’s separate observations with the sentence, "
                "or the mean of both, which the other numbers use.",
                "*/auroc/macro",
                0.5,
            ),
        ),
    ),
    "linear-probe": TaskWords(
        "Learning from few labels",
        "The network is frozen, and a simple classifier (a weighted sum) is taught on top of it with labels of few or "
        f"all training patients. This shows how much the network’s description of a picture holds. {_AUROC}",
        (
            Block(
                "By share of labelled patients",
                "Mean over findings. Good descriptions need few labels.",
                "*/auroc/macro",
                0.5,
            ),
            Block("Every finding, all labels", "One row per finding, the mean first.", "100%/auroc/*", 0.5),
        ),
    ),
    "retrieval": TaskWords(
        "Matching pictures and reports",
        "Given a picture, rank all test reports by how well they fit, and the other way round. R@5 is the share of "
        "pictures whose own report, or one that says the same, is among the first five: 0 is never, 1 is always.",
        (
            Block("From picture to report", "Larger is better.", "mix/image to report/R@*", "k of n", _RANKS),
            Block("From report to picture", "Larger is better.", "mix/report to image/R@*", "k of n", _RANKS),
        ),
    ),
    "grounding": TaskWords(
        "Pointing at what a sentence names",
        "Given “left pleural effusion.”, where does the network look? In the pointing game a try counts when the "
        "hottest spot of the heat map lies inside the true outline: 0 is never, 1 is always. No outline was ever shown "
        "in training.",
        (
            Block(
                "Ways to point",
                "Two maps of the network, and two answers that never look at the picture: a spot in the middle of the "
                "named side, and a map that is the same everywhere. A network that learned to point beats both.",
                "*/pointing game/macro",
                rows=_MAPS,
            ),
            Block(
                "Every finding",
                "Heat maps of the network’s observations; one row per finding, the mean first.",
                "observation/pointing game/*",
            ),
            Block(
                "Overlap with the true outline",
                "Shared area over joint area (IoU) of the outline and the map’s hotter half: 0 is none, 1 is a "
                "perfect fit. Mean over findings.",
                "*/IoU/macro",
                rows=_MAPS,
            ),
        ),
    ),
}

HEADLINES = (
    Headline(
        "zero-shot",
        "mix/auroc/macro",
        "Finding conditions from words alone",
        "Chance to rank a picture with a finding above one without: 0.5 is guessing, 1 perfect.",
        guess=0.5,
    ),
    Headline(
        "linear-probe",
        "100%/auroc/macro",
        "Finding conditions with labels",
        "The same score after a simple classifier was taught with labels of all training patients.",
        guess=0.5,
    ),
    Headline(
        "retrieval",
        "mix/image to report/R@10",
        "Finding a picture’s own report",
        "Share of pictures whose report is among the ten best fits of all test reports.",
        guess="k of n",
    ),
    Headline(
        "grounding",
        "observation/pointing game/macro",
        "Pointing at what a sentence names",
        "Share of tries whose hottest spot lies inside the true outline: 1 is always.",
        trivial="centre/pointing game/macro",
        trivial_name="A fixed spot on the named side",
    ),
)

ROWS = {
    "macro": "Mean over findings",
    "mix": "Mean of both",
    "instance": "Whole picture, whole sentence",
    "observation": "Separate observations",
    "1%": "1 % of patients",
    "10%": "10 % of patients",
    "100%": "All patients",
}

METHODS = {
    "place": ("PLACE", "the method of this run"),
    "random weights": ("Random weights", "the same network before any training: what shape alone gives"),
    "ITA alone": ("ITA alone", "trained only to match whole pictures with whole reports, without PLACE’s own parts"),
    "reports shuffled": (
        "Reports shuffled",
        "trained with every picture given another patient’s report: must end near guessing",
    ),
}


def method(key: str) -> tuple[str, str]:
    """Name and explanation of what pre-trained a network; capitals do not matter."""
    return next((words for name, words in METHODS.items() if name.casefold() == key.casefold()), (key, ""))


LOSSES = {
    "loss": ("All parts together", "The number that training makes small: the weighted sum of the parts."),
    "instance": (
        "Picture and report (ITA)",
        "How well a picture picks its own report out of a batch, and back. Smaller is better.",
    ),
    "pathology_pair": (
        "Observations and report (PCMA, pairs)",
        "The same choice, made by checking each sentence against what the picture shows.",
    ),
    "pathology_image": (
        "Sentences and pictures (PCMA, pictures)",
        "How well a sentence picks its own picture out of the batch by what it finds in each.",
    ),
    "pathology_sentence": (
        "Observations and sentences (PCMA, sentences)",
        "How well what the picture shows for a sentence picks that sentence out of the batch’s others.",
    ),
}

CORRELATION = (
    "Which places belong together (CCE)",
    "Error of the predicted likeness between places of a picture: 0 is perfect, 1 is no relation. It should lie below "
    "the answer that is the same for every picture, and below the one made from another patient’s report; where the "
    "lines meet, the report is not being used.",
)

Curves = tuple[str, str, dict[str, str], tuple[float, ...]]  # title, what it says, columns, what the axis holds

MONITORS: tuple[Curves, ...] = (
    (
        "Likeness of observations (V-POR)",
        "Mean likeness (cosine) of the observations of one picture: near 1 they would all say the same; lower is "
        "richer.",
        {"query_similarity": "likeness"},
        (0.0, 1.0),
    ),
    (
        "Use of the queries",
        "Each query asks the picture for one observation. Usage is 1 when sentences draw on all queries equally, 0 "
        "when one does everything. Spread is 1 when a query looks everywhere alike, less when it looks at a place.",
        {"query_usage": "usage", "attention_spread": "spread of the look"},
        (0.0, 1.0),
    ),
)

MACHINERY: tuple[Curves, ...] = (
    ("Learning rate", "Size of the steps: up at first, then slowly down.", {"lr": "learning rate"}, (0.0,)),
    (
        "Equal texts in a batch",
        "Share of pairs with the same text, which count as matches and not as mistakes.",
        {"shared_sentences": "sentences", "shared_reports": "reports"},
        (0.0,),
    ),
    ("Gradient norm", "How strongly a step pulls; sudden peaks mean trouble.", {"grad_norm": "gradient norm"}, (0.0,)),
    ("Speed", "Pictures per second.", {"images_per_s": "pictures per second"}, (0.0,)),
)

SPLITS = {"train": "training", "val": "validation", "test": "test"}

# For people without medical training: what it is, and how it looks.
FINDINGS = {
    "Pleural Effusion": "fluid between lung and chest wall: even white at the bottom of the lung, higher at the side.",
    "Pneumothorax": "air between lung and chest wall: black beyond a fine line, the edge of the lung that drew back.",
    "Consolidation": "lung filled with fluid or pus instead of air, as in pneumonia: a cloudy white patch.",
    "Atelectasis": "lung that lost its air: white bands, or a wedge at the bottom.",
    "Edema": "fluid in the tissue of both lungs, often from a weak heart: haze on both sides of the middle.",
    "Cardiomegaly": "a heart that is too large: wider than about half of the chest.",
    "Nodule": "a round white spot in the lung, from a few millimetres to a few centimetres.",
    "Emphysema": "lung tissue that is destroyed: lungs that are too dark and too large.",
    "Rib Fracture": "a broken rib: a step or a gap in its line.",
    "Pacemaker": "a device under the skin that makes the heart beat: a bright box and a wire to the heart.",
    "Central Line": "a thin tube in a large vein, its tip near the heart.",
    "Endotracheal Tube": "a breathing tube in the windpipe.",
    "Foreign Object": "something that is not part of the body, such as an electrode, a clip or a coin.",
}
