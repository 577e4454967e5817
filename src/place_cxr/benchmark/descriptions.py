"""What the tables say in plain words."""

from __future__ import annotations

PHANTOM_NOTICE = (
    "Pictures and reports are drawn by a program: no patient is in here. The numbers compare "
    "methods at small size; they say nothing about patients and are not to be set beside those of "
    "papers."
)

HOW_TO_READ = (
    "A number is the mean over the seeds of pre-training, which move weights, batches, shares and "
    "heads. The 95 % interval in brackets tells how far that mean would move with other test "
    "patients and with other seeds: percentiles over resampled patients, and a t interval over "
    "seeds, joined by squaring and adding both distances (MOVER). A mean of one seed has the "
    "patients' part alone. Intervals can pass the end of a scale. A dash is a cell that was not "
    "run, or that is undefined; nothing is filled in. A mean over fewer seeds than planned says "
    "so.",
    "▼ means clearly below {reference}, ▲ clearly above: the 95 % interval of the difference "
    "leaves out 0. The difference is taken seed by seed and on the same resamples of patients, so "
    "it can be clear where two intervals overlap. These signs are not corrected for the number of "
    "comparisons; ** among the differences is. Bold is the highest mean of the ranked methods in "
    "a column, clear or not.",
    "Patients are resampled (a bootstrap); signs are not flipped patient by patient (a "
    "randomisation test), because AUROC, AP and micro F1 belong to all patients together: no "
    "patient has a difference of its own.",
)

DIFFERENCES = (
    "{reference} less the other method: above 0, {reference} is ahead. * the 95 % interval leaves "
    "out 0. ** so does it after Holm's correction over all methods of the column (p below .05, "
    "where p is the level at which the interval would touch 0). n/m: {reference} is ahead in n of "
    "the m seeds that both have. The intervals themselves are not corrected. Few seeds make wide "
    "intervals: with three, the t interval reaches 2.5 standard deviations to each side."
)

RANKS = (
    "1 is best. Methods are ranked in every column of the home site that all ranked methods have, "
    "ties share the mean rank; ranks are averaged over a task's columns, then over tasks. First "
    "in: the share of resamples of test patients in which a method has the best mean rank; seeds "
    "are not resampled here. A method without a rank is a bound or a control."
)

SHIFT = (
    "Everything was learned at one site and is tested at each. The difference is home less away: "
    "above 0, the method is worse away from home. The patients of two sites are different people, "
    "so both sites' intervals go into that of the difference. * it leaves out 0. For the first "
    "metric of each task, with the largest share of labels."
)

CURVES = (
    "The first metric of each task on the home site against the share of training patients that "
    "teach the head. The shares are on a logarithmic scale. Numbers and intervals are in the "
    "tables of the tasks."
)

COSTS = (
    "Means over seeds; memory is the highest of all. Memory is that of the whole process, or of "
    "the GPU where one was used. Heads: everything after pre-training, of one seed. A dash: "
    "nothing was trained, or it was not measured."
)


def metric_heading(metric: str) -> str:
    """A column's metric as a table says it: ``{score}/auroc/macro`` is ``AUROC``."""
    parts = [
        part for part in metric.split("/") if part not in ("{score}", "{heat}", "macro", "decoder")
    ]
    names = {
        "auroc": "AUROC",
        "dice": "Dice",
        "nearest": "nearest training report",
        "frequent": "most frequent report",
    }
    return ", ".join(names.get(part, part) for part in parts)


def format_fraction(fraction: float) -> str:
    """A column's share of the training patients."""
    return f"{100 * fraction:g} % of labels" if fraction else ""


def format_number(value: float | None, digits: int = 3, signed: bool = False) -> str:
    """``.724``, ``−.012``; a dash where there is none."""
    if value is None:
        return "—"
    text = f"{abs(value):.{digits}f}"
    sign = "" if not float(text) else "−" if value < 0 else "+" if signed else ""
    return sign + (text[1:] if text.startswith("0.") else text)


def format_interval(low: float | None, high: float | None, signed: bool = False) -> str:
    """``[.701, .745]``, or nothing."""
    return (
        ""
        if low is None or high is None
        else f"[{format_number(low, signed=signed)}, {format_number(high, signed=signed)}]"
    )
