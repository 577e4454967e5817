"""Write the numbers of real_pairs.py as Markdown between the markers of a document.

python experiments/real_tables.py runs/real/real_pairs.json docs/real_data.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markdown_tables import markdown_table, replace_between

BEGIN, END = "<!-- results: written by experiments/real_tables.py -->", "<!-- end of results -->"


def all_tables(result: Mapping[str, Any]) -> str:
    """All tables, and a last paragraph that says where the numbers come from."""
    lines: list[str] = []

    for pool, methods in result["retrieval"].items():
        lines += [*_retrieval_table(pool, methods), ""]
    for dataset, numbers in result["probe"].items():
        lines += [*_probe_table(dataset, numbers), ""]

    lines += [*_heat_map_table(result["heat maps"]), ""]
    # Every division has the same reports, so one is enough.
    lines += [*_reading_table(result["splits"][0]["reading"]), ""]
    return "\n".join([*lines, provenance(result)])


def _retrieval_table(pool: str, methods: Mapping[str, Any]) -> list[str]:
    guessing = methods["guessing"]
    columns = [name for name in guessing if name != "patients"]

    rows = []
    for method, metrics in methods.items():
        # Guessing depends on the number of candidates only, so its interval says nothing.
        bare = method == "guessing"
        rows.append([method, *(format_interval(metrics[c], bare=bare) for c in columns)])

    queries, patients = guessing[columns[0]]["n"], guessing["patients"]
    title = f"**Retrieval, {pool} pairs** ({queries} queries, {patients} patients)"
    return [title, "", *markdown_table(["", *columns], rows)]


def _probe_table(dataset: str, numbers: Mapping[str, Any]) -> list[str]:
    classes = list(next(iter(numbers["auroc"].values())))
    # With one class the mean repeats the class.
    if len(classes) == 2:
        classes = classes[1:]

    rows = []
    for method, auroc in numbers["auroc"].items():
        difference = format_interval(numbers["against random"].get(method), "+.2f")
        rows.append([method, *(format_interval(auroc[name]) for name in classes), difference])

    title = (
        f"**Linear probe, `classes/{dataset}`** ({numbers['rows']} images, {numbers['patients']} "
        "patients), AUROC"
    )
    header = ["features", *classes, "minus random weights"]
    return [title, "", *markdown_table(header, rows)]


def _heat_map_table(methods: Mapping[str, Any]) -> list[str]:
    header = [
        "",
        "heat in the lungs / in an area of the same size anywhere",
        "r of the maps of two sentences of a report",
        "maps",
        "patients",
    ]

    rows = []
    for method, metrics in methods.items():
        lungs = metrics["lungs"]
        intervals = [format_interval(lungs), format_interval(metrics["alike"])]
        rows.append([method, *intervals, str(lungs["n"]), str(lungs["patients"])])

    title = "**Heat maps, held-out images with a lung mask**"
    return [title, "", *markdown_table(header, rows)]


def _reading_table(reading: Mapping[str, Any]) -> list[str]:
    rows = []
    for method, counts in reading.items():
        cut = f"{counts['cut reports']} of {counts['of']}"
        rows.append([method, f"{counts['median tokens']:.0f}", cut])

    header = ["tokenizer of", "median tokens per report", "reports cut at the model's length"]
    return ["**Reading the reports** (first split)", "", *markdown_table(header, rows)]


def provenance(result: Mapping[str, Any]) -> str:
    """Commit, date, budget, machine, and the size of each split."""
    sizes = []
    for split in result["splits"]:
        parts = [
            f"{images} images of {split['patients'][name]}"
            for name, images in split["images"].items()
        ]
        sizes.append(" / ".join(parts))

    return (
        f"Commit `{result['commit']}`, {result['date']}, {result['steps']} steps of "
        f"{result['batch size']} pairs, {result['seconds']:.0f} s in all on "
        f"{result['cpu']['threads']} thread(s) of {result['cpu']['model']}. Patients by split, "
        f"train / val / test: {'; '.join(sizes)}."
    )


def format_interval(
    value: Mapping[str, Any] | None, form: str = ".2f", *, bare: bool = False
) -> str:
    """``value [low, high]``, or the value alone without an interval or with ``bare``.

    An undefined value is –.
    """
    if value is None or value["value"] is None:
        return "–"

    if bare or value["low"] is None:
        return format(value["value"], form)

    return f"{value['value']:{form}} [{value['low']:{form}}, {value['high']:{form}}]"


def write_tables(document: Path, tables: str) -> None:
    """Replace what stands between the marks of ``document`` by ``tables``."""
    text = replace_between(document.read_text(encoding="utf-8"), BEGIN, END, f"\n\n{tables}\n\n")
    document.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:3])
    write_tables(target, all_tables(json.loads(source.read_text(encoding="utf-8"))))
