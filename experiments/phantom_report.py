"""docs/results.md, written from the files of runs ``RUNS/METHOD-sSEED`` and nothing else.

Only the reading between its two marks is a person's; it is kept as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean
from string import Template
from typing import Any

from phantom_methods import ABLATIONS, MAIN
from phantom_runs import TASKS, Mean, Run, Runs, mean, method, read_runs, seconds, text_of

from place_cxr.core.errors import PlaceError
from place_cxr.core.version import RESEARCH_NOTICE

READING = ("<!-- reading: kept when the tables are written anew -->", "<!-- /reading -->")
TEMPLATE = Path(__file__).with_name("results_template.md")
SHARES = ("1%", "10%", "100%")  # of training patients with labels
COMMAND = "python experiments/phantom_table.py --out runs/table --seeds 0 1 2"
MONITORS = {
    "query_similarity": "cosine between queries",
    "attention_spread": "spread of attention",
    "correlation": "CCE loss",
    "correlation_permuted": "with another report",
    "correlation_constant": "constant answer",
}


Column = tuple[str, str, str]  # header, task, metric; {score} and {heat} are the method's own


def number(value: float | None, digits: int = 3) -> str:
    """``.724``; nothing where there is no number."""
    if value is None:
        return ""
    text = f"{value:.{digits}f}"
    return re.sub(r"^(-?)0\.", r"\1.", text)


def cell(found: Mean | None, digits: int = 3, interval: bool = True) -> str:
    """Mean [patient-level interval] ± spread over seeds."""
    if found is None:
        return ""
    between = (
        f" [{number(found.low, digits)}, {number(found.high, digits)}]"
        if interval and found.low is not None
        else ""
    )
    return f"{number(found.value, digits)}{between}" + (
        f" ±{number(found.spread, digits)}" if found.spread is not None else ""
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown; the first column is text, the others numbers."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def by_method(runs: Runs, slugs: Iterable[str], columns: Sequence[Column], **how: Any) -> str:
    """A row a method, whether it has been run or not."""
    rows = [
        [method(s).title, *(cell(mean(runs, s, t, n), **how) for _, t, n in columns)] for s in slugs
    ]
    return table(["", *(head for head, _, _ in columns)], rows)


# Headline measures, each with the score that the method trains: README, comparisons, ablations.
MEASURES: Sequence[Column] = (
    ("zero-shot AUROC", "zero-shot", "{score}/auroc/macro"),
    ("zero-shot AUROC, instance score of both", "zero-shot", "instance/auroc/macro"),
    ("linear probe AUROC, 1 % of labels", "classification", "1%/auroc/macro"),
    ("linear probe AUROC, 10 % of labels", "classification", "10%/auroc/macro"),
    ("linear probe AUROC, all labels", "classification", "100%/auroc/macro"),
    ("R@10, image to report", "retrieval", "{score}/image to report/R@10"),
    ("R@10, report to image", "retrieval", "{score}/report to image/R@10"),
    ("pointing game", "grounding", "{heat}/pointing game/macro"),
    ("IoU of the heat map", "grounding", "{heat}/IoU/macro"),
)
SHORT: Sequence[Column] = (
    ("zero-shot AUROC", *MEASURES[0][1:]),
    ("probe AUROC, 1 % of labels", *MEASURES[2][1:]),
    ("probe AUROC, all labels", *MEASURES[4][1:]),
    ("own report among the first 10", *MEASURES[5][1:]),
    ("points at the finding", *MEASURES[7][1:]),
)


def verdict(ours: Mean, theirs: Mean) -> str:
    """What may be said of a difference: its sign with every seed, and whether the two intervals are
    apart.
    """
    common = sorted(set(ours.by_seed) & set(theirs.by_seed))
    above = sum(ours.by_seed[seed] > theirs.by_seed[seed] for seed in common)
    below = sum(ours.by_seed[seed] < theirs.by_seed[seed] for seed in common)
    count = f"{len(common)} seed" + "s" * (len(common) != 1)
    if not common:
        return "no seed in common"
    if above == len(common) or below == len(common):
        said = f"{'higher' if above else 'lower'} with {'all ' * (len(common) > 1)}{count}"
    else:
        said = f"higher with {above} of {count}"
    if None in (ours.low, ours.high, theirs.low, theirs.high):
        return said
    return f"{said}; intervals {'apart' if ours.low > theirs.high or ours.high < theirs.low else 'overlap'}"


def comparison(runs: Runs, theirs: Callable[[str, str], Mean | None], title: str) -> str:
    """PLACE beside one control, measure by measure, over the seeds that both have."""
    rows = []
    for head, task, name in MEASURES:
        a, b = mean(runs, "place", task, name), theirs(task, name)
        if a is None or b is None:
            continue
        common = sorted(set(a.by_seed) & set(b.by_seed))
        steps = [a.by_seed[seed] - b.by_seed[seed] for seed in common]
        means = [
            number(fmean(x.by_seed[seed] for seed in common)) if common else "" for x in (a, b)
        ]
        each = ", ".join(f"{step:+.3f}" for step in steps)
        rows.append([head, *means, f"{fmean(steps):+.3f}" if steps else "", each, verdict(a, b)])
    return table(["", "PLACE", title, "difference", "by seed", "verdict"], rows)


def ending(runs: Runs, slugs: Iterable[str]) -> str:
    """What training last said of itself, mean over seeds."""
    rows = []
    for slug in slugs:
        last = [run.records[-1] for run in runs.get(slug, {}).values() if run.records]
        values = [
            [record[name] for record in last if record.get(name) is not None] for name in MONITORS
        ]
        if last:
            rows.append([method(slug).title, *(number(fmean(v)) if v else "" for v in values)])
    return table(["", *MONITORS.values()], rows)


def by_finding(runs: Runs) -> str:
    """PLACE and ITA alone, finding by finding."""
    prefix, pointing = "{score}/auroc/", "{heat}/pointing game/"
    names = [
        name.removeprefix("mix/auroc/")
        for run in list(runs.get("place", {}).values())[:1]
        for name in run.results["zero-shot"].metrics
        if name.startswith("mix/auroc/") and not name.endswith("/macro")
    ]
    columns = [
        ("place", "zero-shot", prefix),
        ("ita", "zero-shot", prefix),
        ("place", "classification", "100%/auroc/"),
        ("ita", "classification", "100%/auroc/"),
        ("place", "grounding", pointing),
        ("place", "grounding", "centre/pointing game/"),
    ]
    rows = [
        [name, *(cell(mean(runs, s, t, p + name), interval=False) for s, t, p in columns)]
        for name in names
    ]
    head = [
        "",
        "zero-shot, PLACE",
        "zero-shot, ITA",
        "probe, PLACE",
        "probe, ITA",
        "pointing, PLACE",
        "pointing, middle",
    ]
    return table(head, rows)


def provenance(runs: Runs) -> str:
    """Which runs these are."""
    rows = []
    for slug, seeds in runs.items():
        each = list(seeds.values())
        commits = {result.git for run in each for result in run.results.values() if result.git}
        steps = {run.records[-1]["step"] for run in each if run.records}
        minutes = [s / 60 for run in each if (s := seconds(run))]
        rows.append(
            [
                method(slug).title,
                f"`{slug}`",
                " ".join(map(str, seeds)),
                ", ".join(map(str, sorted(steps))),
                f"{fmean(minutes):.1f}" if minutes else "",
                ", ".join(
                    sorted(f"`{commit[:9]}{'+' * commit.endswith('+')}`" for commit in commits)
                ),
                ", ".join(
                    sorted(
                        {
                            run.environment["started"][:10]
                            for run in each
                            if "started" in run.environment
                        }
                    )
                ),
            ]
        )
    return table(["", "folder", "seeds", "steps", "minutes of training", "commit", "date"], rows)


def _unique(values: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(value for value in values if value))


def between(text: str, marks: tuple[str, str]) -> str:
    """What stands between two marks; nothing where they are not there."""
    _, found, rest = text.partition(marks[0])
    return rest.partition(marks[1])[0].strip() if found else ""


def results_page(runs: Runs, reading: str, apart: Runs | None = None) -> str:
    """docs/results.md, whole; ``apart`` are ablations that were made on a budget of their own."""
    all_runs = [run for seeds in runs.values() for run in seeds.values()]
    changed = runs if apart is None else apart
    ablations = [
        "place",
        *(
            slug
            for slug in [*ABLATIONS, *changed]
            if slug != "place" and (apart or slug not in MAIN)
        ),
    ]
    ablations = list(dict.fromkeys(ablations))
    scores, heats = (
        ("instance", "observation", "mix"),
        {"centre": "middle of the side", "uniform": "everywhere"},
    )

    def against(slug: str) -> str:
        return comparison(runs, lambda task, name: mean(runs, slug, task, name), method(slug).title)

    def middle(task: str, name: str) -> Mean | None:
        return (
            mean(runs, "place", task, name.replace("{heat}", "centre"))
            if task == "grounding"
            else None
        )

    def scored(task: str, metric: str, **how: Any) -> str:
        return by_method(
            runs, MAIN, [(variant, task, f"{variant}/{metric}") for variant in scores], **how
        )

    def pointed(metric: str) -> str:
        names = {"observation": "observation", "instance": "instance", **heats}
        return by_method(
            runs, MAIN, [(head, "grounding", f"{v}/{metric}/macro") for v, head in names.items()]
        )

    fields = {
        "notice": RESEARCH_NOTICE,
        "command": COMMAND,
        "reading": f"{READING[0]}\n{reading or 'None yet.'}\n{READING[1]}",
        "counts": _counts(runs),
        "budget": "" if apart is None else f" {_budget(apart)}",
        "zero_shot": scored("zero-shot", "auroc/macro"),
        "thin": _thin(runs),
        "probe": by_method(
            runs,
            MAIN,
            [(f"{s} of the labels", "classification", f"{s}/auroc/macro") for s in SHARES],
        ),
        "to_report": scored("retrieval", "image to report/R@10"),
        "to_image": scored("retrieval", "report to image/R@10"),
        "ranks": scored("retrieval", "image to report/median rank", digits=0),
        "pointing": pointed("pointing game"),
        "iou": pointed("IoU"),
        **{f"against_{slug}": against(slug) for slug in ("ita", "shuffled", "random")},
        "against_middle": comparison(runs, middle, "middle of the side"),
        "ablations": by_method(changed, ablations, SHORT, interval=False),
        "ending": ending(runs, MAIN),
        "ending_ablations": ending(changed, ablations),
        "by_finding": by_finding(runs),
        "machines": _machines(all_runs),
        "provenance": provenance(runs)
        + ("" if apart is None else f"\n\nAblations:\n\n{provenance(apart)}"),
        "signatures": "\n".join(
            f"- **{task}**: {how}." for task in TASKS if (how := _signature(all_runs, task))
        ),
    }
    return Template(TEMPLATE.read_text("utf-8")).substitute(fields)


def _counts(runs: Runs) -> str:
    images = next(
        (run.images for seeds in runs.values() for run in seeds.values() if run.images), {}
    )
    return ", ".join(f"{count} {split}" for split, count in images.items())


def _budget(runs: Runs) -> str:
    """The smaller setting of ablations, in words."""
    each = [run for seeds in runs.values() for run in seeds.values()]
    steps = sorted({run.records[-1]["step"] for run in each if run.records})
    seeds = sorted({seed for found in runs.values() for seed in found})
    return (
        f"**These runs have a budget of their own**: {' or '.join(map(str, steps))} steps, seed "
        f"{', '.join(map(str, seeds))}, phantoms of {_counts(runs)} pictures. They are compared "
        f"with the PLACE of this "
        "table, not with the tables above."
    )


def _thin(runs: Runs) -> str:
    """Which shares of the labels are too few for some findings."""
    found = _unique(
        f"{share}, {metric.reason}"
        for run in runs.get("place", {}).values()
        for share in SHARES
        if (metric := run.metric("classification", f"{share}/auroc/macro"))
        and "without" in metric.reason
    )
    return (
        found and f"Some findings have too few labels, and which ones depends on the seed: {found}."
    )


def _signature(runs: Iterable[Run], task: str) -> str:
    return _unique(run.results[task].signature for run in runs if task in run.results)


def _machines(runs: Iterable[Run]) -> str:
    processors = (
        (run.environment["cpu"], run.environment["gpus"])
        for run in runs
        if "cpu" in run.environment
    )
    words = (
        f"{cpu['model']}, {cpu['cores']} cores, {cpu['threads']} thread(s) a run, "
        f"{', '.join(gpus) or 'no GPU'}."
        for cpu, gpus in processors
    )
    return _unique(words)


def render(folder: Path, results: Path, *, ablations: Path | None = None) -> None:
    """Write ``results`` whole but for its reading.

    Raises PlaceError PL-R020 when ``folder`` has no result.
    """
    runs = read_runs(folder)
    if not runs:
        raise PlaceError(
            "no results",
            code="PL-R020",
            file=folder,
            fix="give the folder that holds METHOD-sSEED runs",
        )
    apart = None if ablations is None else read_runs(ablations)
    results.write_text(results_page(runs, between(text_of(results), READING), apart), "utf-8")
