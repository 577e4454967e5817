"""How often the rule labeller is right, as tables between the markers of docs/labeler.md.

    python experiments/labeler.py [--real FOLDER] [--phantoms 3000] [--out docs/labeler.md]

FOLDER is the sample data (docs/data.md); without it the tables of real reports stay as they are.
Four figures: the frozen sentences, sentences of real reports labelled by hand
(``labeler_rows.json``: no text, only where it stands), phantom reports against what they say, and
real reports against their expert tags. No number is typed.
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

from place_cxr.core.records import ABSENT, NOT_MENTIONED, PRESENT, UNCERTAIN
from place_cxr.phantom.history import make_scene
from place_cxr.phantom.report import write_phantom_report
from place_cxr.text.labeler import CHEXPERT_FINDINGS, label_report, label_sentence
from place_cxr.text.labeler.statements import OTHER_ABNORMALITY, keep_strongest
from place_cxr.text.reports import read_report

ROOT = Path(__file__).resolve().parents[1]
ROWS = Path(__file__).parent / "labeler_rows.json"
SENTENCES = ROOT / "tests" / "data" / "labeler_sentences.json"
SEED = 11
WORDS = {"present": PRESENT, "uncertain": UNCERTAIN, "absent": ABSENT}
# A phantom's finding -> ours. Where reports call a consolidation an opacity, only opacities count
# that stand in a sentence without another explanation of them.
PHANTOM = {
    "Pleural Effusion": ("Pleural Effusion",),
    "Pneumothorax": ("Pneumothorax",),
    "Consolidation": ("Consolidation", "Pneumonia", "Lung Opacity"),
    "Atelectasis": ("Atelectasis",),
    "Edema": ("Edema",),
    "Cardiomegaly": ("Cardiomegaly",),
    "Nodule": ("Lung Lesion",),
    "Rib Fracture": ("Fracture",),
}
DEVICES = ("Pacemaker", "Central Line", "Endotracheal Tube")
EXPLAINED = {"Lung Lesion", "Atelectasis", "Edema", "Pleural Effusion"}
# Our finding -> first words of expert tags (the part before the first stroke).
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
    """The labels of a case of the JSON files."""
    return {name: value for word, value in WORDS.items() for name in case.get(word, ())}


def given(sentence: str) -> dict[str, float]:
    """The labeller's answer in the same form."""
    return {
        name: value for name, value in label_sentence(sentence).items() if name != OTHER_ABNORMALITY
    }


def report_text(row: Mapping[str, str]) -> str:
    """Findings and impression of a row of iu_reports.csv under their headers."""
    parts = (("FINDINGS", row["findings"]), ("IMPRESSION", row["impression"]))
    return "\n".join(f"{header}: {text}" for header, text in parts if text)


def real_reports(folder: Path) -> list[dict[str, str]]:
    """Rows of reports/iu_reports.csv."""
    with (folder / "reports" / "iu_reports.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def hand_labelled(folder: Path) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Part, sentence and labels for each row of labeler_rows.json."""
    texts = {row["uid"]: report_text(row) for row in real_reports(folder)}
    for case in json.loads(ROWS.read_text("utf-8")):
        yield (
            case["part"],
            read_report(texts[case["report"]]).sentences[case["sentence"]],
            expected(case),
        )


def sentence_table(cases: Iterable[tuple[str, str, dict[str, float]]]) -> list[str]:
    """For each part: sentences right in every finding, and the statements found, missed, added and
    turned.
    """
    counts: dict[str, Counter[str]] = {}
    for part, sentence, truth in cases:
        answer, count = given(sentence), counts.setdefault(part, Counter())
        count["sentences"] += 1
        count["right"] += answer == truth
        for name in truth.keys() | answer.keys():
            both = name in truth and name in answer
            kind = (
                "same" if both and truth[name] == answer[name] else "turned" if both else "missed"
            )
            count[kind if name in truth else "added"] += 1
    head = ["sentences", "wholly right", "statements right", "missed", "added", "other value"]
    rows = [
        [f"{part} ({c['sentences']})", f"{c['right']} ({c['right'] / c['sentences']:.1%})"]
        + [str(c[kind]) for kind in ("same", "missed", "added", "turned")]
        for part, c in counts.items()
    ]
    return table(head, rows)


def phantom_table(studies: int) -> list[str]:
    """Labeller against ``said`` over phantom reports."""
    counts: dict[str, Counter[tuple[float | None, float | None]]] = {
        name: Counter() for name in (*PHANTOM, "Devices")
    }
    for index in range(studies):
        scene = make_scene(SEED, index)
        report = write_phantom_report(
            scene, np.random.Generator(np.random.Philox(key=[scene.noise_key, 5]))
        )
        values = label_report(report.text).values
        for name, ours in PHANTOM.items():
            answer = (
                _opacity(report.text)
                if name == "Consolidation"
                else _best(values[one] for one in ours)
            )
            counts[name][_key(report.said[name]), _key(answer)] += 1
        if report.said["Foreign Object"] not in (
            PRESENT,
            UNCERTAIN,
        ):  # clips and electrodes are devices, coins are not
            said = _best(report.said[one] for one in DEVICES)
            counts["Devices"][_key(said), _key(values["Support Devices"])] += 1
    head = [
        "phantom finding",
        "reports",
        "present",
        "uncertain",
        "absent",
        "not mentioned",
        "agreement",
    ]
    rows = []
    for name, count in counts.items():
        hits = [
            (count[value, value], sum(n for (said, _), n in count.items() if said == value))
            for value in _VALUES
        ]
        shares = [f"{right} of {all_}" for right, all_ in hits]
        rows.append(
            [
                name,
                str(count.total()),
                *shares,
                f"{sum(right for right, _ in hits) / count.total():.1%}",
            ]
        )
    return table(head, rows)


_VALUES = (PRESENT, UNCERTAIN, ABSENT, None)


def _key(value: float) -> float | None:
    return None if math.isnan(value) else value


def _best(values: Iterable[float]) -> float:
    best: dict[str, float] = {}
    for value in values:
        if not math.isnan(value):
            keep_strongest(best, "", value)
    return best.get("", NOT_MENTIONED)


def _opacity(text: str) -> float:
    """A phantom's consolidation: consolidation, pneumonia, or an opacity that nothing else
    explains.
    """
    best: dict[str, float] = {}
    report = read_report(text)
    for sentence, observes in zip(report.sentences, report.is_observation, strict=True):
        values = label_sentence(sentence) if observes else {}
        explained = any(values.get(name, ABSENT) != ABSENT for name in EXPLAINED)
        for name in ("Consolidation", "Pneumonia", *(() if explained else ("Lung Opacity",))):
            if name in values:
                keep_strongest(best, "", values[name])
    return best.get("", NOT_MENTIONED)


def tag_table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Present or uncertain against expert tags, which also name suspected findings."""
    counts = {name: Counter[str]() for name in TAGS}
    for row in rows:
        tags = {tag.split("/")[0].strip().lower() for tag in row["mesh_major"].split(";")}
        values = label_report(report_text(row)).values
        for name, words in TAGS.items():
            found, tagged = values[name] in (PRESENT, UNCERTAIN), not tags.isdisjoint(words)
            counts[name][
                "both" if found and tagged else "found" if found else "tagged" if tagged else "none"
            ] += 1
    head = ["finding", "tagged and found", "only found", "only tagged", "precision", "recall", "F1"]
    lines = []
    for name, c in counts.items():
        both, found, tagged = c["both"], c["both"] + c["found"], c["both"] + c["tagged"]
        shares = [
            both / found if found else None,
            both / tagged if tagged else None,
            2 * both / max(found + tagged, 1),
        ]
        cells = ["–" if share is None else f"{share:.2f}" for share in shares]
        lines.append([name, str(both), str(c["found"]), str(c["tagged"]), *cells])
    return table(head, lines)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)]


def put(file: Path, name: str, lines: Sequence[str]) -> None:
    """Replace what stands between the markers ``name`` of ``file``."""
    begin, end = f"<!-- {name}: written by experiments/labeler.py -->", f"<!-- end of {name} -->"
    before, rest = file.read_text("utf-8").split(begin)
    text = "\n".join(lines)
    file.write_text(f"{before}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}", encoding="utf-8")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--real", type=Path, default=os.environ.get("PLACE_TEST_DATA") or None)
    parser.add_argument("--phantoms", type=int, default=3000)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "labeler.md")
    args = parser.parse_args()
    frozen = json.loads(SENTENCES.read_text("utf-8"))
    put(
        args.out,
        "sentences",
        sentence_table(("made up", case["text"], expected(case)) for case in frozen),
    )
    put(args.out, "phantoms", phantom_table(args.phantoms))
    if args.real:
        put(args.out, "rows", sentence_table(hand_labelled(Path(args.real))))
        put(args.out, "tags", tag_table(real_reports(Path(args.real))))


if __name__ == "__main__":
    assert set(TAGS) <= set(CHEXPERT_FINDINGS)
    main()
