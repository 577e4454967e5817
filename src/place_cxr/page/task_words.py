"""What the page says in plain words about tasks and their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FRACTION_SLOT = (
    "{share}"  # in a pattern: the largest share of the training patients that there are numbers for
)


@dataclass(frozen=True, slots=True)
class MetricBlock:
    """Metrics shown together with a plot: those that match ``pattern`` (``*`` in one of three parts
    names the rows).
    """

    title: str
    says: str
    pattern: str
    guess: float | str | None = (
        None  # what guessing scores: one number, or "k of n" for R@k among n candidates
    )
    rows: Mapping[str, str] = field(
        default_factory=dict
    )  # names of rows, where ROWS says something else
    only: bool = False  # no other rows than those, and in their order


@dataclass(frozen=True, slots=True)
class TaskExplanation:
    """A task for people who never heard of it."""

    title: str
    says: str
    blocks: tuple[MetricBlock, ...]
    has_head: bool = False  # something on top of the network learns from labels


_AUROC = (
    "The score (AUROC) is the chance that a picture with the finding is ranked above one without "
    "it: 0.5 is guessing, 1 is perfect."
)

_RANKS = {"1": "First (R@1)", "5": "Among the first 5 (R@5)", "10": "Among the first 10 (R@10)"}

_MAPS = {
    "observation": "Observations (V-PORs) that the sentence picks",
    "instance": "Places that are like the sentence",
    "centre": "Middle of the named side (no network)",
    "uniform": "Same everywhere (no network)",
}

_ANSWERS = {
    "decoder": "The written report",
    "nearest": "Report of the most similar training picture",
    "frequent": "Always the most frequent training report (no network)",
}

TASK_EXPLANATIONS = {
    "zero-shot": TaskExplanation(
        "Finding conditions from words alone",
        "No label was ever shown to the network. A picture is held against sentences such as "
        "“There is a pleural "
        f"effusion.” and “No pleural effusion.”, and the better fit wins. {_AUROC}",
        (
            MetricBlock(
                "Every finding",
                "One row per finding, the mean over findings first.",
                "mix/auroc/*",
                0.5,
            ),
            MetricBlock(
                "Two ways to compare picture and words",
                "The whole picture with the whole sentence, the picture’s separate observations "
                "with the sentence, or the mean of both, which the other numbers use.",
                "*/auroc/macro",
                0.5,
            ),
        ),
    ),
    "classification": TaskExplanation(
        "Learning from few labels",
        "A simple classifier (a weighted sum of what the network says of a picture) is taught with "
        "labels of few or "
        f"all training patients. {_AUROC}",
        (
            MetricBlock(
                "By share of labelled patients",
                "Mean over findings. Good descriptions need few labels.",
                "*/auroc/macro",
                0.5,
            ),
            MetricBlock(
                "Every finding",
                "One row per finding, the mean first.",
                f"{FRACTION_SLOT}/auroc/*",
                0.5,
            ),
        ),
        has_head=True,
    ),
    "retrieval": TaskExplanation(
        "Matching pictures and reports",
        "Given a picture, rank all test reports by how well they fit, and the other way round. "
        "R@5 is the share of pictures whose own report, or one that says the same, is among the "
        "first five: 0 is never, 1 is always.",
        (
            MetricBlock(
                "From picture to report",
                "Larger is better.",
                "mix/image to report/R@*",
                "k of n",
                _RANKS,
            ),
            MetricBlock(
                "From report to picture",
                "Larger is better.",
                "mix/report to image/R@*",
                "k of n",
                _RANKS,
            ),
        ),
    ),
    "grounding": TaskExplanation(
        "Pointing at what a sentence names",
        "Given “left pleural effusion.”, where does the network look? In the pointing game a try "
        "counts when the hottest spot of the heat map lies inside the true outline: 0 is never, 1 "
        "is always. No outline was ever shown in training.",
        (
            MetricBlock(
                "Ways to point",
                "Two maps of the network, and two answers that never look at the picture: a spot "
                "in the middle of the named side, and a map that is the same everywhere. A "
                "network that learned to point beats both.",
                "*/pointing game/macro",
                rows=_MAPS,
            ),
            MetricBlock(
                "Every finding",
                "Heat maps of the network’s observations; one row per finding, the mean first.",
                "observation/pointing game/*",
            ),
            MetricBlock(
                "Overlap with the true outline",
                "Shared area over joint area (IoU) of the outline and the map’s hotter half: 0 is "
                "none, 1 is a perfect fit. Mean over findings.",
                "*/IoU/macro",
                rows=_MAPS,
            ),
        ),
    ),
    "segmentation": TaskExplanation(
        "Outlining findings",
        "A small network on top of the first one is taught, from outlines of training patients, "
        "to mark the pixels of each finding. Dice is twice the shared area over the sum of both "
        "areas: 0 is no overlap, 1 is a perfect outline. It is taken over the pictures where the "
        "finding is; marking nothing at all scores 0. Small things such as a fracture or the tip "
        "of a tube need more training than a demonstration has time for.",
        (
            MetricBlock(
                "In the mean over findings",
                "Overlap tells how well a finding is marked where it is; pictures without it "
                "should stay unmarked. Marking nothing at all would score 0 in the first and 1 in "
                "the second.",
                f"{FRACTION_SLOT}/*/macro",
                rows={
                    "dice": "Overlap where the finding is (Dice)",
                    "IoU": "The same, stricter (IoU)",
                    "empty kept empty": "Pictures without the finding left unmarked",
                },
                only=True,
            ),
            MetricBlock(
                "Every finding",
                "Dice; one row per finding, the mean first.",
                f"{FRACTION_SLOT}/dice/*",
            ),
        ),
        has_head=True,
    ),
    "detection": TaskExplanation(
        "Drawing boxes around findings",
        "A small network on top of the first one is taught, from boxes of training patients, to "
        "put a box around each finding and to say how sure it is. Average precision (AP) is 1 "
        "when all true boxes are found and no other box is drawn as surely, and 0 when none is "
        "found; boxes thrown at random score about 0.",
        (
            MetricBlock(
                "In the mean over findings",
                "How much of the true box a drawn box must meet to count (shared over joint area).",
                f"{FRACTION_SLOT}/*/macro",
                rows={
                    "AP 50": "Half (AP 50)",
                    "AP 40-75": "From 40 to 75 % (AP 40-75), the mean",
                    "AP 50-95": "From 50 to 95 % (AP 50-95), the mean",
                },
                only=True,
            ),
            MetricBlock(
                "Every finding",
                "AP 40-75; one row per finding, the mean first.",
                f"{FRACTION_SLOT}/AP 40-75/*",
            ),
        ),
        has_head=True,
    ),
    "report-generation": TaskExplanation(
        "Writing a report",
        "A small text generator on top of the network learns from pictures and reports of "
        "training patients, and writes a report for each test picture. A program then reads which "
        "findings the written and the true report state. F1 is 1 when both state the same, and 0 "
        "when they share none. Two answers write nothing of their own: the one report that is "
        "most frequent in training, and the report of the training picture that the network finds "
        "most similar. A generator that is not above both has learned nothing worth having.",
        (
            MetricBlock(
                "Findings stated rightly, all together",
                "Common findings count most (micro F1). Larger is better.",
                f"{FRACTION_SLOT}/micro F1/*",
                rows=_ANSWERS,
                only=True,
            ),
            MetricBlock(
                "Findings stated rightly, each counting alike",
                "The mean over findings, so that rare ones count as much as common ones (macro "
                "F1).",
                f"{FRACTION_SLOT}/macro F1/*",
                rows=_ANSWERS,
                only=True,
            ),
            MetricBlock(
                "Likeness of the wording",
                "The longest run of words, gaps allowed, that the written and the true report "
                "share (ROUGE-L): 1 is word for word. Fluent text that states the wrong findings "
                "scores well here, so read it last.",
                f"{FRACTION_SLOT}/ROUGE-L/*",
                rows=_ANSWERS,
                only=True,
            ),
        ),
        has_head=True,
    ),
}

FROZEN_NOTE = "The network itself stays as it was: what is measured is how much its description of a picture holds."

# What follows a task's name in the name of a result: words for the title, and a sentence.
SUFFIX_EXPLANATIONS = {
    "finetune": (
        "the network learns too",
        "Here the network itself went on learning with the labels, not only what was put on top of "
        "it.",
    ),
    "mgca": (
        "rules of MGCA",
        "The rules are those published with MGCA, its peculiarities included, and go before what "
        "is said above; the small print names them. The numbers compare with that publication and "
        "with nothing else on this page.",
    ),
    "prior": (
        "rules of PRIOR",
        "The rules are those published with PRIOR: every patient is tested once, in five rounds, "
        "and outlines and boxes are scored on pictures with a finding only. The numbers compare "
        "with that publication and with nothing else on this page.",
    ),
}


def explain_task(name: str) -> tuple[str, str, tuple[MetricBlock, ...]]:
    """Title, explanation and blocks of a result's task; a task that nobody described goes by its
    name.

    A mode or profile in the name (``segmentation-mgca``) has the words of its task, and says what
    it changes.
    """
    base_name, suffixes = split_suffixes(name)
    explanation = TASK_EXPLANATIONS.get(base_name)
    if explanation is None:
        return name, "", ()
    suffix_titles = [SUFFIX_EXPLANATIONS[suffix][0] for suffix in suffixes]
    frozen_note = (
        [FROZEN_NOTE] if explanation.has_head and not {"finetune", "mgca"} & set(suffixes) else []
    )
    says = " ".join(
        [explanation.says, *frozen_note, *(SUFFIX_EXPLANATIONS[suffix][1] for suffix in suffixes)]
    )
    return (
        ": ".join(filter(None, (explanation.title, ", ".join(suffix_titles)))),
        says,
        explanation.blocks,
    )


def split_suffixes(name: str) -> tuple[str, tuple[str, ...]]:
    """A result's task without mode and profile, and these."""
    suffixes: list[str] = []
    while name not in TASK_EXPLANATIONS and name.rpartition("-")[2] in SUFFIX_EXPLANATIONS:
        name, _, last = name.rpartition("-")
        suffixes.insert(0, last)
    return name, tuple(suffixes)


def task_order(name: str) -> tuple[int, str]:
    """Where a result's task stands on the page."""
    order = list(TASK_EXPLANATIONS)
    base_name, _ = split_suffixes(name)
    return order.index(base_name) if base_name in order else len(order), name
