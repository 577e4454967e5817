"""How a task is explained to readers: each task tells it in its own file, pages and tables show
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# In a pattern of a metric: the largest fraction of the training patients that has results.
FRACTION_SLOT = "{share}"


@dataclass(frozen=True, slots=True)
class MetricBlock:
    """Metrics that a page shows together, as a plot and a table.

    ``pattern`` names them: ``*`` in one of the three parts of a metric's name makes the rows.
    ``guess`` is what guessing scores: one number, or "k of n" for R@k among n candidates. ``rows``
    are names of rows; with ``only``, no other row is shown, and they stand in this order.
    """

    title: str
    says: str
    pattern: str
    guess: float | str | None = None
    rows: Mapping[str, str] = field(default_factory=dict)
    only: bool = False


@dataclass(frozen=True, slots=True)
class Headline:
    """A task's number at the top of a page.

    ``trivial`` is the metric of an answer that needs no network, ``trivial_name`` what it is
    called.
    """

    metric: str
    title: str
    says: str
    guess: float | str | None = None
    trivial: str = ""
    trivial_name: str = ""


@dataclass(frozen=True, slots=True)
class TaskText:
    """A task in words.

    ``name``, ``short`` (where there is little room) and ``question`` are for readers of the field,
    in a benchmark's tables; ``title``, ``says``, ``blocks`` and ``headline`` for people who never
    heard of it, on a run's page. ``has_head``: something on top of the network learns from labels.
    ``trivial_answers`` learn nothing from the image: what they are called, and which part of a
    metric's name becomes which.
    """

    name: str
    short: str
    question: str
    title: str = ""
    says: str = ""
    blocks: tuple[MetricBlock, ...] = ()
    headline: Headline | None = None
    has_head: bool = False
    trivial_answers: Mapping[str, tuple[str, str]] = field(default_factory=dict)
