"""Texts of the page about headlines, methods, losses, monitors and findings, in plain words."""

from __future__ import annotations

ROW_NAMES = {
    "macro": "Mean over findings",
    "mix": "Mean of both",
    "instance": "Whole picture, whole sentence",
    "observation": "Separate observations",
    "1%": "1 % of patients",
    "10%": "10 % of patients",
    "100%": "All patients",
}

METHOD_DESCRIPTIONS = {
    "place": ("PLACE", "the method of this run"),
    "ITA alone": (
        "ITA alone",
        "trained only to match whole pictures with whole reports, without PLACE’s own parts",
    ),
    "random weights": (
        "Random weights",
        "the same network before any training: what shape alone gives",
    ),
    "reports shuffled": (
        "Reports shuffled",
        "trained with every picture given another patient’s report: must end near guessing",
    ),
}

# A method that never trained its observations is read by whole pictures: what it trains is what it
# is read by.
VARIANT_SUBSTITUTES = {"ita alone": {"mix": "instance", "observation": "instance"}}
SUBSTITUTE_NOTE = (
    "ITA alone is read by its match of whole pictures (or places in them) with whole sentences, "
    "all that it trains."
)


def describe_method(key: str) -> tuple[str, str]:
    """Name and explanation of what pre-trained a network; capitals do not matter."""
    return next(
        (
            description
            for name, description in METHOD_DESCRIPTIONS.items()
            if name.casefold() == key.casefold()
        ),
        (key, ""),
    )


def substitute_metric(key: str, metric: str) -> str:
    """The metric by which a method answers where PLACE is read by ``metric``."""
    variant, slash, remainder = metric.partition("/")
    return VARIANT_SUBSTITUTES.get(key.casefold(), {}).get(variant, variant) + slash + remainder


LOSS_DESCRIPTIONS = {
    "loss": (
        "All parts together",
        "The number that training makes small: the weighted sum of the parts.",
    ),
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
        "How well what the picture shows for a sentence picks that sentence out of the batch’s "
        "others.",
    ),
}

CORRELATION_DESCRIPTION = (
    "Which places belong together (CCE)",
    "Error of the predicted likeness between places of a picture: 0 is perfect, 1 is no relation. "
    "It should lie below the answer that is the same for every picture, and below the one made "
    "from another patient’s report; where the lines meet, the report is not being used.",
)

CurvesDescription = tuple[
    str, str, dict[str, str], tuple[float, ...]
]  # title, what it says, columns, what the axis holds

MONITOR_CURVES: tuple[CurvesDescription, ...] = (
    (
        "Likeness of observations (V-POR)",
        "Mean likeness (cosine) of the observations of one picture: near 1 they would all say the "
        "same; lower is richer.",
        {"query_similarity": "likeness"},
        (0.0, 1.0),
    ),
    (
        "Use of the queries",
        "Each query asks the picture for one observation. Usage is 1 when sentences draw on all "
        "queries equally, 0 when one does everything. Spread is 1 when a query looks everywhere "
        "alike, less when it looks at a place.",
        {"query_usage": "usage", "attention_spread": "spread of the look"},
        (0.0, 1.0),
    ),
)

MACHINE_CURVES: tuple[CurvesDescription, ...] = (
    (
        "Learning rate",
        "Size of the steps: up at first, then slowly down.",
        {"lr": "learning rate"},
        (0.0,),
    ),
    (
        "Equal texts in a batch",
        "Share of pairs with the same text, which count as matches and not as mistakes.",
        {"shared_sentences": "sentences", "shared_reports": "reports"},
        (0.0,),
    ),
    (
        "Gradient norm",
        "How strongly a step pulls; sudden peaks mean trouble.",
        {"grad_norm": "gradient norm"},
        (0.0,),
    ),
    ("Speed", "Pictures per second.", {"images_per_s": "pictures per second"}, (0.0,)),
)

SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}

# For people without medical training: what it is, and how it looks.
FINDING_DESCRIPTIONS = {
    "Pleural Effusion": "fluid between lung and chest wall: even white at the bottom of the lung, "
    "higher at the side.",
    "Pneumothorax": "air between lung and chest wall: black beyond a fine line, the edge of the "
    "lung that drew back.",
    "Consolidation": "lung filled with fluid or pus instead of air, as in pneumonia: a cloudy "
    "white patch.",
    "Atelectasis": "lung that lost its air: white bands, or a wedge at the bottom.",
    "Edema": "fluid in the tissue of both lungs, often from a weak heart: haze on both sides of "
    "the middle.",
    "Cardiomegaly": "a heart that is too large: wider than about half of the chest.",
    "Nodule": "a round white spot in the lung, from a few millimetres to a few centimetres.",
    "Emphysema": "lung tissue that is destroyed: lungs that are too dark and too large.",
    "Rib Fracture": "a broken rib: a step or a gap in its line.",
    "Pacemaker": "a device under the skin that makes the heart beat: a bright box and a wire to "
    "the heart.",
    "Central Line": "a thin tube in a large vein, its tip near the heart.",
    "Endotracheal Tube": "a breathing tube in the windpipe.",
    "Foreign Object": "something that is not part of the body, such as an electrode, a clip or a "
    "coin.",
}
