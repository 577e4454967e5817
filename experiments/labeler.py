"""How often the rule labeler is right, as tables between the markers of docs/labeler.md.

    python experiments/labeler.py [--real FOLDER] [--phantoms 3000] [--out docs/labeler.md]

FOLDER is the sample data (docs/data.md); without it the tables of real reports stay as they are.
It writes five tables: the frozen sentences; sentences of real reports labeled by hand
(``labeler_rows.json`` holds their places, not their text); phantom reports against what they state;
real reports against their expert tags, and the same for all reports of Indiana University that are
not in R2Gen's test split (``iu_xray`` in FOLDER). No number is typed by hand.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markdown_tables import markdown_table, replace_between

from place_cxr.core.records import ABSENT, NOT_MENTIONED, PRESENT, UNCERTAIN
from place_cxr.phantom.history import make_scene
from place_cxr.phantom.report import write_phantom_report
from place_cxr.text.labeler import CHEXPERT_FINDINGS, label_report, label_sentence
from place_cxr.text.labeler.statements import OTHER_ABNORMALITY, keep_strongest
from place_cxr.text.reports import read_report

REPOSITORY = Path(__file__).resolve().parents[1]
ROWS = Path(__file__).parent / "labeler_rows.json"
SENTENCES_FILE = REPOSITORY / "tests" / "text" / "labeler_sentences.json"
SEED = 11  # of the phantom reports
WORDS = {"present": PRESENT, "uncertain": UNCERTAIN, "absent": ABSENT}
# A phantom's finding -> the labeler's findings. Reports may call a consolidation an opacity; this
# opacity counts only if its sentence has no other explanation of it (EXPLANATIONS).
PHANTOM_FINDINGS = {
    "Pleural Effusion": ("Pleural Effusion",),
    "Pneumothorax": ("Pneumothorax",),
    "Consolidation": ("Consolidation", "Pneumonia", "Lung Opacity"),
    "Atelectasis": ("Atelectasis",),
    "Edema": ("Edema",),
    "Cardiomegaly": ("Cardiomegaly",),
    "Nodule": ("Lung Lesion",),
    "Rib Fracture": ("Fracture",),
}
# A phantom has three kinds of device, the labeler one.
DEVICES = ("Pacemaker", "Central Line", "Endotracheal Tube")
EXPLANATIONS = {"Lung Lesion", "Atelectasis", "Edema", "Pleural Effusion"}
# The labeler's finding -> expert tags, cut at the first slash.
TAGS = {
    "No Finding": {"normal"},
    "Cardiomegaly": {"cardiomegaly"},
    "Lung Opacity": {"opacity", "infiltrate", "airspace disease"},
    "Lung Lesion": {"nodule", "mass"},
    "Edema": {"pulmonary edema", "pulmonary congestion"},
    "Consolidation": {"consolidation"},
    "Pneumonia": {"pneumonia"},
    "Atelectasis": {"pulmonary atelectasis"},
    "Pneumothorax": {"pneumothorax"},
    "Pleural Effusion": {"pleural effusion"},
    "Fracture": {"fractures, bone"},
    "Support Devices": {
        "catheters, indwelling",
        "implanted medical device",
        "tube, inserted",
        "medical device",
    },
}


def expected(case: Mapping[str, Any]) -> dict[str, float]:
    """The true labels of a case of the JSON files."""
    labels: dict[str, float] = {}

    for word, value in WORDS.items():
        labels |= dict.fromkeys(case.get(word, ()), value)

    return labels


def predicted(sentence: str) -> dict[str, float]:
    """The labeler's prediction in the same form."""
    labels = label_sentence(sentence)
    return {name: value for name, value in labels.items() if name != OTHER_ABNORMALITY}


def report_text(row: Mapping[str, str]) -> str:
    """Findings and impression of a row of iu_reports.csv under their headers."""
    parts = (("FINDINGS", row["findings"]), ("IMPRESSION", row["impression"]))
    return "\n".join(f"{header}: {text}" for header, text in parts if text)


def real_reports(folder: Path) -> list[dict[str, str]]:
    """Rows of reports/iu_reports.csv."""
    with (folder / "reports" / "iu_reports.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def iu_reports(folder: Path) -> list[dict[str, str]]:
    """All rows of iu_xray that have text and are not in R2Gen's test split."""
    tables = {}
    for name in ("indiana_reports", "r2gen_split"):
        with (folder / "iu_xray" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            tables[name] = list(csv.DictReader(file))

    held_out = {row["uid"] for row in tables["r2gen_split"] if row["split"] == "test"}
    return [
        {**row, "mesh_major": row["MeSH"]}
        for row in tables["indiana_reports"]
        if row["uid"] not in held_out and report_text(row)
    ]


def hand_labeled(folder: Path) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Part, sentence and labels for each row of labeler_rows.json."""
    texts = {row["uid"]: report_text(row) for row in real_reports(folder)}

    for case in json.loads(ROWS.read_text("utf-8")):
        sentences = read_report(texts[case["report"]]).sentences
        yield case["part"], sentences[case["sentence"]], expected(case)


def sentence_table(cases: Iterable[tuple[str, str, dict[str, float]]]) -> list[str]:
    """For each part: sentences with every label right, and the number of statements that are right,
    missed, added, or labeled with another value.
    """
    counts: dict[str, Counter[str]] = {}

    for part, sentence, truth in cases:
        prediction = predicted(sentence)
        count = counts.setdefault(part, Counter())
        count["sentences"] += 1
        count["all right"] += prediction == truth

        # A finding in neither is right but no statement, so it is not counted.
        for name in truth.keys() | prediction.keys():
            if name not in prediction:
                count["missed"] += 1
            elif name not in truth:
                count["added"] += 1
            else:
                count["same" if truth[name] == prediction[name] else "other value"] += 1

    rows = []
    for part, count in counts.items():
        total, right = count["sentences"], count["all right"]
        kinds = [str(count[kind]) for kind in ("same", "missed", "added", "other value")]
        rows.append([f"{part} ({total})", f"{right} ({right / total:.1%})", *kinds])

    header = ["sentences", "all labels right", "statements right", "missed", "added", "other value"]
    return markdown_table(header, rows)


_VALUES = (PRESENT, UNCERTAIN, ABSENT, None)  # None: not mentioned, comparable unlike NaN


def phantom_table(studies: int) -> list[str]:
    """The labeler against ``said``, which states what a phantom report says."""
    counts: dict[str, Counter[tuple[float | None, float | None]]] = {}

    for index in range(studies):
        scene = make_scene(SEED, index)
        # Key 5 is the random stream of the report in a phantom study.
        generator = np.random.Generator(np.random.Philox(key=[scene.noise_key, 5]))
        report = write_phantom_report(scene, generator)

        for name, pair in _compare(report.text, report.said).items():
            counts.setdefault(name, Counter())[pair] += 1

    rows = []
    for name in (*PHANTOM_FINDINGS, "Devices"):
        count = counts[name]
        cells, hits = [], 0

        for value in _VALUES:
            right = count[value, value]
            total = sum(n for (said, _), n in count.items() if said == value)
            cells.append(f"{right} of {total}")
            hits += right

        rows.append([name, str(count.total()), *cells, f"{hits / count.total():.1%}"])

    values = ["present", "uncertain", "absent", "not mentioned"]
    return markdown_table(["phantom finding", "reports", *values, "agreement"], rows)


def _compare(text: str, said: Mapping[str, float]) -> dict[str, tuple[float | None, float | None]]:
    """Phantom finding -> (what the report says, what the labeler reads)."""
    values = label_report(text).values
    pairs = {}

    for name, findings in PHANTOM_FINDINGS.items():
        if name == "Consolidation":
            prediction = _opacity(text)
        else:
            prediction = _strongest(values[finding] for finding in findings)
        pairs[name] = _key(said[name]), _key(prediction)

    # Foreign objects are left out: clips and electrodes are devices, coins are not.
    if said["Foreign Object"] not in (PRESENT, UNCERTAIN):
        devices = _strongest(said[name] for name in DEVICES)
        pairs["Devices"] = _key(devices), _key(values["Support Devices"])

    return pairs


def _key(value: float) -> float | None:
    return None if math.isnan(value) else value


def _strongest(values: Iterable[float]) -> float:
    """Present wins over uncertain, uncertain over absent, all over not mentioned."""
    strongest: dict[str, float] = {}

    for value in values:
        if not math.isnan(value):
            keep_strongest(strongest, "", value)

    return strongest.get("", NOT_MENTIONED)


def _opacity(text: str) -> float:
    """A phantom's consolidation: consolidation, pneumonia, or an opacity without an explanation."""
    values: list[float] = []
    report = read_report(text)

    for sentence, is_observation in zip(report.sentences, report.is_observation, strict=True):
        if not is_observation:
            continue

        labels = label_sentence(sentence)
        names = ["Consolidation", "Pneumonia"]
        if all(labels.get(name, ABSENT) == ABSENT for name in EXPLANATIONS):
            names.append("Lung Opacity")

        values += [labels[name] for name in names if name in labels]

    return _strongest(values)


def tag_table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Present or uncertain against expert tags, which also name suspected findings."""
    counts = {name: Counter[tuple[bool, bool]]() for name in TAGS}

    for row in rows:
        # A tag such as "Pleural Effusion/right/small" names the finding before the first slash.
        tags = {tag.split("/")[0].strip().lower() for tag in row["mesh_major"].split(";")}
        values = label_report(report_text(row)).values

        for name, words in TAGS.items():
            found = values[name] in (PRESENT, UNCERTAIN)
            counts[name][found, not tags.isdisjoint(words)] += 1

    lines = []
    for name, count in counts.items():
        both, only_found, only_tagged = count[True, True], count[True, False], count[False, True]
        found, tagged = both + only_found, both + only_tagged

        precision = f"{both / found:.2f}" if found else "–"
        recall = f"{both / tagged:.2f}" if tagged else "–"
        f1 = f"{2 * both / max(found + tagged, 1):.2f}"
        numbers = [str(both), str(only_found), str(only_tagged)]
        lines.append([name, *numbers, precision, recall, f1])

    header = ["finding", "tagged and found", "only found", "only tagged"]
    return markdown_table([*header, "precision", "recall", "F1"], lines)


def write_table(file: Path, name: str, lines: Sequence[str]) -> None:
    """Replace the text between the markers ``name`` of ``file``."""
    begin, end = f"<!-- {name}: written by experiments/labeler.py -->", f"<!-- end of {name} -->"
    body = "\n\n" + "\n".join(lines) + "\n\n"
    file.write_text(replace_between(file.read_text("utf-8"), begin, end, body), "utf-8")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--real", type=Path, default=os.environ.get("PLACE_TEST_DATA") or None)
    parser.add_argument("--phantoms", type=int, default=3000)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "labeler.md")
    arguments = parser.parse_args()

    frozen = json.loads(SENTENCES_FILE.read_text("utf-8"))
    cases = (("synthetic", case["text"], expected(case)) for case in frozen)
    write_table(arguments.out, "sentences", sentence_table(cases))
    write_table(arguments.out, "phantoms", phantom_table(arguments.phantoms))

    if arguments.real:
        folder = Path(arguments.real)
        write_table(arguments.out, "rows", sentence_table(hand_labeled(folder)))
        write_table(arguments.out, "tags", tag_table(real_reports(folder)))
        if (folder / "iu_xray").is_dir():
            write_table(arguments.out, "iu", tag_table(iu_reports(folder)))


if __name__ == "__main__":
    assert set(TAGS) <= set(CHEXPERT_FINDINGS)
    main()
