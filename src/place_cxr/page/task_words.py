"""Modes and profiles in the names of results, and what they add to the text of a task."""

from __future__ import annotations

from collections.abc import Mapping

from place_cxr.core.task_text import MetricBlock, TaskText

FROZEN_NOTE = (
    "The network itself stays as it was: what is measured is how much its description of a picture "
    "holds."
)

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


def explain_task(
    name: str, texts: Mapping[str, TaskText]
) -> tuple[str, str, tuple[MetricBlock, ...]]:
    """Title, explanation and blocks of a result's task; one without text goes by its name.

    A mode or profile in the name (``segmentation-mgca``) has the text of its task, and says what it
    changes.
    """
    base_name, suffixes = split_suffixes(name, texts)
    explanation = texts.get(base_name)
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


def split_suffixes(name: str, texts: Mapping[str, TaskText]) -> tuple[str, tuple[str, ...]]:
    """A result's task without mode and profile, and these."""
    suffixes: list[str] = []
    while name not in texts and name.rpartition("-")[2] in SUFFIX_EXPLANATIONS:
        name, _, last = name.rpartition("-")
        suffixes.insert(0, last)
    return name, tuple(suffixes)


def task_order(name: str, texts: Mapping[str, TaskText]) -> tuple[int, str]:
    """Where a result's task stands on the page: in the order of ``texts``, others behind."""
    order = list(texts)
    base_name, _ = split_suffixes(name, texts)
    return order.index(base_name) if base_name in order else len(order), name
