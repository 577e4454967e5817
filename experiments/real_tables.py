"""The numbers of real_pairs.py as Markdown, put between the markers of a document.

python experiments/real_tables.py runs/real/real_pairs.json docs/real_data.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- results: written by experiments/real_tables.py -->", "<!-- end of results -->"


def tables(result: Mapping[str, Any]) -> str:
    """All tables, and what made them."""
    lines = []
    for where, found in result["retrieval"].items():
        columns = [name for name in next(iter(found.values())) if name != "patients"]
        queries = found["guessing"][columns[0]]["n"]
        lines += [
            f"**Retrieval, {where} pairs** ({queries} queries, {found['guessing']['patients']} "
            f"patients)",
            "",
        ]
        lines += table(
            ["", *columns],
            ([m, *(cell(v[c], bare=m == "guessing") for c in columns)] for m, v in found.items()),
        )
    for name, one in result["probe"].items():
        classes = list(next(iter(one["auroc"].values())))
        classes = (
            classes if len(classes) > 2 else classes[1:]
        )  # the mean of one class is that class
        lines += [
            f"**Linear probe, `classes/{name}`** ({one['rows']} pictures, {one['patients']} "
            f"patients), AUROC",
            "",
        ]
        scores = (
            [m, *(cell(v[c]) for c in classes), cell(one["against random"].get(m), "+.2f")]
            for m, v in one["auroc"].items()
        )
        lines += table(["features", *classes, "minus random weights"], scores)
    lines += ["**Heat maps, held-out pictures with a lung mask**", ""]
    head = [
        "",
        "heat in the lungs / in as large an area anywhere",
        "r of the maps of two sentences of a report",
        "maps",
        "patients",
    ]
    lines += table(
        head,
        (
            [
                m,
                cell(v["lungs"]),
                cell(v["alike"]),
                str(v["lungs"]["n"]),
                str(v["lungs"]["patients"]),
            ]
            for m, v in result["heat maps"].items()
        ),
    )
    lines += ["**Reading the reports** (first split)", ""]
    reading = result["splits"][0]["reading"]
    head = ["tokenizer of", "median tokens a report", "reports cut at the model's length"]
    lines += table(
        head,
        (
            [m, f"{v['median tokens']:.0f}", f"{v['cut reports']} of {v['of']}"]
            for m, v in reading.items()
        ),
    )
    return "\n".join([*lines, made(result)])


def made(result: Mapping[str, Any]) -> str:
    """What the numbers come from."""
    sizes = "; ".join(
        " / ".join(
            f"{split['images'][name]} pictures of {split['patients'][name]}"
            for name in split["images"]
        )
        for split in result["splits"]
    )
    return (
        f"Commit `{result['commit']}`, {result['date']}, {result['steps']} steps of "
        f"{result['batch size']} pairs, {result['seconds']:.0f} s in all on "
        f"{result['cpu']['threads']} thread(s) of {result['cpu']['model']}. Patients by split, "
        f"train / val / test: {sizes}."
    )


def cell(value: Mapping[str, Any] | None, form: str = ".2f", *, bare: bool = False) -> str:
    """``value [low, high]``; without the interval where there is none or ``bare``."""
    if value is None or value["value"] is None:
        return "–"
    if bare or value["low"] is None:
        return format(value["value"], form)
    return f"{value['value']:{form}} [{value['low']:{form}}, {value['high']:{form}}]"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table, and an empty one."""
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)] + [""]


def put(file: Path, text: str) -> None:
    """Replace what stands between the markers of ``file``."""
    before, rest = file.read_text(encoding="utf-8").split(BEGIN)
    file.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    put(Path(sys.argv[2]), tables(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
