"""Reports of phantom scenes: they say what is there, on the right side, in many words; ``said`` is
what they say.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from itertools import chain

import numpy as np
import pytest

from place_cxr.phantom.history import make_scene
from place_cxr.phantom.report import PhantomReport, write_phantom_report
from place_cxr.phantom.scene import PHANTOM_FINDINGS, Finding, Scene

COUNT = 2000
HEADER = r"(?:exam|examination|indication|history|technique|comparison|findings|impression)"
NOT_AN_END = r"(?<!Dr\.)(?<!approx\.)(?<!a\.m\.)(?<!p\.m\.)"
DENIES = re.compile(
    r"\b(?:no|not seen|without (?!lung markings)|negative "
    r"for|resol\w+|removed|removal|cleared|disappeared)\b",
    re.I,
)
DOUBTS = re.compile(
    r"\b(?:possibl\w+|possibility|questionable|suspected|equivocal|may|might|could|cannot|question"
    r"|difficult to exclude|not excluded|borderline|upper limit|apparent"
    r"|slight\w* blunting|subtle|faint|prominent)\b",
    re.I,
)
NORMAL = re.compile(r"normal|unremark|sharp|clear|preserved|intact|free|within|not", re.I)
TECHNIQUE = re.compile(r"magnifies|accentuates", re.I)
DEVICES = r"support (?:device|line)|lines or tubes|lines, tubes|indwelling"
PLEURAL = r"pleural (?:surfaces are|spaces are [^f]|abnormality)"
# Words that only a statement about the finding uses.
NAMED = {
    "Pleural Effusion": rf"effusion|pleural fluid|(?:amount|free) of "
    rf"fluid|hydrothorax|costophrenic|{PLEURAL}",
    "Pneumothorax": rf"pneumothora|pleural line|{PLEURAL}",
    "Edema": r"edema|vascular congestion|pulmonary vasc|overload|failure",
    "Cardiomegaly": r"cardiomegaly|enlargement|heart (?:\w+ )?is|(?:heart|cardiac) size|cardiac "
    r"(?:and|silh|shad)"
    r"|cardiomed|of the heart|cardiac enl",
    "Emphysema": r"emphysem|hyperinflat(?:ion|ed)|flattening of the diaphragms",
    "Rib Fracture": r"fracture|bones|osseous|bony|skelet|ribs? (?:is|are)",
    "Pacemaker": rf"pacemaker|pacing|pacer|{DEVICES}",
    "Endotracheal Tube": rf"endotracheal|\bET tube|\bETT\b|tracheal tube|intubated|{DEVICES}",
}
SUMMED_UP = re.compile(
    r"no .*acute|clear|focal lesion|abnormality|normal (?:chest|exam|radio)|within "
    r"normal|unremarkable",
    re.I,
)
OTHER_LUNG = re.compile(r"^(?:The )?(?:left|right) lung is|^No (?:focal )?abnormality", re.I)
OF_THE_BODY = r"right (?:atrium|main bronchus|hemidiaphragm)"


def sentences(text: str) -> list[str]:
    """The sentences of findings and impression."""
    found = []
    for line in text.split("\n"):
        for part in re.split(rf"\b(?={HEADER}:)", line, flags=re.I):
            header = re.match(rf"({HEADER}):\s*", part, re.I)
            if header and header[1].lower() not in ("findings", "impression"):
                continue
            body = part[header.end() :] if header else part
            for sentence in re.split(rf"(?<=\.){NOT_AN_END}\s+(?=[A-Z0-9])", body.strip()):
                plain = re.sub(r"^\d\.(?:\s+|$)", "", sentence.strip())
                if plain:
                    found.append(plain)
    return found


@lru_cache(maxsize=1)
def made() -> list[tuple[Scene, PhantomReport]]:
    scenes = [make_scene(11, index) for index in range(COUNT)]
    return [
        (scene, write_phantom_report(scene, np.random.default_rng([5, index])))
        for index, scene in enumerate(scenes)
    ]


def one(finding: Finding | None, prior: Finding | None = None, view: str = "PA") -> Scene:
    there, before = (finding,) if finding else (), (prior,) if prior else None
    return Scene(
        "P1",
        "S1",
        view,
        "F",
        60,
        "A",
        there,
        0.58 if there and there[0].name == "Cardiomegaly" else 0.44,
        before,
    )


def reports(scene: Scene, count: int) -> list[PhantomReport]:
    return [write_phantom_report(scene, np.random.default_rng(seed)) for seed in range(count)]


def test_what_is_said_agrees_with_what_is_there() -> None:
    # [reports, findings], in the order of PHANTOM_FINDINGS.
    there = np.array([list(scene.labels.values()) for scene, _ in made()]) == 1
    said = np.array([list(report.said.values()) for _, report in made()])

    assert set(np.unique(said[~np.isnan(said)])) == {-1.0, 0.0, 1.0}
    assert there[said == 1].all()
    assert 0.89 < np.mean(~np.isnan(said[there])) < 0.94
    assert 0 < np.mean(said[there] == 0) < 0.012
    assert 0.06 < np.mean(said[there] == -1) < 0.16
    assert 0.40 < np.mean(said[~there] == 0) < 0.50
    assert 0.003 < np.mean(said[~there] == -1) < 0.012
    denied = {
        name: np.mean(said[~there[:, place], place] == 0)
        for place, name in enumerate(PHANTOM_FINDINGS)
    }
    assert sorted(denied, key=denied.__getitem__)[-3:] != sorted(denied)[-3:]
    assert (
        min(denied[name] for name in ("Pleural Effusion", "Pneumothorax", "Consolidation")) > 0.75
    )


@pytest.mark.parametrize("name", NAMED)
def test_the_text_says_what_said_says(name: str) -> None:
    word = re.compile(NAMED[name], re.I)
    seen = 0
    for _, report in made():
        value = report.said[name]
        all_said = [
            sentence for sentence in sentences(report.text) if not TECHNIQUE.search(sentence)
        ]
        mine = [sentence for sentence in all_said if word.search(sentence)]
        seen += bool(mine)
        if np.isnan(value):
            assert not mine, mine
        elif value == 1:
            stated = [re.split("without (?!lung)", sentence)[0] for sentence in mine]
            assert any(
                word.search(sentence) and not DENIES.search(sentence) for sentence in stated
            ), report.text
        elif value == -1:
            assert any(DOUBTS.search(sentence) for sentence in mine), report.text
        else:
            assert all(DENIES.search(sentence) or NORMAL.search(sentence) for sentence in mine), (
                mine
            )
            assert mine or any(SUMMED_UP.search(sentence) for sentence in all_said), report.text
    assert seen > 200


def test_conspicuity_decides_what_is_missed_and_hedged() -> None:
    def shares(seen: float) -> tuple[float, float, float]:
        finding = Finding("Consolidation", "left", "lower", "mild", conspicuity=seen)
        said = np.array([report.said["Consolidation"] for report in reports(one(finding), 400)])
        return float(np.mean(said == 1)), float(np.mean(said == -1)), float(np.mean(np.isnan(said)))

    clear, faint = shares(1.0), shares(0.1)
    assert clear[0] > 0.94
    assert faint[0] < 0.55 and faint[1] > 0.3 and 0.1 < faint[2] < 0.3


SIDED = [
    Finding("Pleural Effusion", "left", "lower", "large"),
    Finding("Pneumothorax", "left", "upper", "small"),
    Finding("Consolidation", "left", "upper", "severe"),
    Finding("Atelectasis", "left", "lower", "mild"),
    Finding("Nodule", "left", "mid", "", 18.0, "nodule"),
    Finding("Rib Fracture", "left", "upper", "", None, "4th"),
    Finding("Pacemaker", "left", "upper", ""),
    Finding("Central Line", "left", "", "", None, "in the superior vena cava"),
]
ZONES = {
    "upper": r"upper|ap(?:ex|ical)",
    "mid": r"\bmid",
    "lower": r"lower|bas(?:e|es|al|ilar)\b|costophrenic|hemidiaphragm",
}
GRADES = {
    "small": r"\b(?:small|tiny|minor|trace|minimal)\b",
    "mild": r"\b(?:mild|slight|minor)\b",
    "moderate": r"\bmoderate",
    "large": r"\b(?:large|sizeable)\b",
    "severe": r"\b(?:severe|marked|extensive|pronounced)\b",
}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("finding", SIDED, ids=lambda finding: finding.name)
def test_side_zone_and_grade_are_those_of_the_finding(finding: Finding, side: str) -> None:
    other = {"left": "right", "right": "left"}[side]
    named = graded = 0
    for report in reports(one(replace(finding, side=side)), 150):
        if report.said[finding.name] != 1 or sum(value == -1 for value in report.said.values()):
            continue
        spoken = [s for s in sentences(report.text) if not OTHER_LUNG.search(s)]
        text = re.sub(OF_THE_BODY, "", " ".join(spoken), flags=re.I)
        assert re.search(rf"\b{side}\b", text, re.I), report.text
        assert not re.search(rf"\b{other}\b", text, re.I), report.text
        mine = [
            re.split("without", s)[0]
            for s in spoken
            if re.search(rf"\b{side}\b", s, re.I) and not DENIES.match(s)
        ]
        named += 1
        for sentence in mine:
            if finding.name in ("Consolidation", "Atelectasis", "Nodule"):
                for zone, words in ZONES.items():
                    assert zone == finding.zone or not re.search(words, sentence, re.I), sentence
            for grade, words in GRADES.items():
                hit = re.search(words, sentence, re.I)
                graded += bool(hit)
                alike = {"small", "mild"} >= {grade, finding.severity}
                assert not hit or grade == finding.severity or alike, sentence
    assert named > 120
    assert graded > 60 or not finding.severity


def test_sides_hold_in_scenes_of_many_findings() -> None:
    checked = 0
    for scene, report in made():
        told = scene.findings + (scene.prior_findings or ())
        sides = {finding.side for finding in told} - {""}
        imagined = any(
            report.said[name] == -1 and not scene.labels[name] for name in PHANTOM_FINDINGS
        )
        if len(sides) != 1 or sides == {"bilateral"} or imagined:
            continue
        other = "right" if sides == {"left"} else "left"
        text = " ".join(s for s in sentences(report.text) if not OTHER_LUNG.search(s))
        assert not re.search(rf"\b{other}\b", re.sub(OF_THE_BODY, "", text, flags=re.I), re.I), (
            report.text
        )
        checked += 1
    assert checked > 300


def test_sizes_ribs_tips_and_ratio_are_the_scene_s() -> None:
    said = " ".join(
        r.text for r in reports(one(Finding("Nodule", "right", "upper", "", 18.0, "nodule")), 60)
    )
    assert set(re.findall(r"(\d+\.?\d*) [cm]m\b", said)) == {"18", "1.8"}
    said = " ".join(
        r.text for r in reports(one(Finding("Rib Fracture", "right", "mid", "", None, "6th")), 60)
    )
    assert set(
        re.findall(r"(\w+) rib\b", re.sub(r"(acute|displaced|no) rib", "", said, flags=re.I))
    ) == {
        "6th",
        "sixth",
    }
    tube = Finding("Endotracheal Tube", "", "", "", None, "in the right main bronchus")
    told = " ".join(r.text for r in reports(one(tube, view="AP"), 60))
    assert (
        "in the right main bronchus" in told
        and "above the carina" not in told
        and "withdraw" in told.lower()
    )
    told = " ".join(r.text for r in reports(one(Finding("Cardiomegaly", "", "", "moderate")), 60))
    assert set(re.findall(r"0\.\d+", re.sub(r"0\.\d+ cm", "", told))) == {"0.58"}


@pytest.mark.parametrize(
    ("before", "now", "never"),
    [
        ("small", "large", r"decreas|smaller|improv|unchanged|stable|resolv|new\b"),
        ("large", "small", r"increas|larger|worse|progress|unchanged|stable|new\b"),
        (
            "moderate",
            "moderate",
            r"increas|larger|worse|decreas|smaller|improv|resolv|new\b|develop",
        ),
        ("", "moderate", r"again|persist|known|unchanged|stable|increas|larger|decreas|improv"),
        ("moderate", "", r"again|persist|increas|larger|unchanged|stable|new\b"),
    ],
)
def test_change_follows_the_prior_study(before: str, now: str, never: str) -> None:
    def effusion(severity: str) -> Finding | None:
        return Finding("Pleural Effusion", "right", "lower", severity) if severity else None

    scene = one(effusion(now), effusion(before))
    scene = scene if before else replace(scene, prior_findings=())
    told = 0
    for report in reports(scene, 120):
        mine = [
            s for s in sentences(report.text) if re.search("effusion|pleural fluid|hydrothorax", s)
        ]
        told += any(
            re.search(
                r"prior|previous|interval|since|new\b|earlier|unchanged|stable|ing\.$", s, re.I
            )
            for s in mine
        )
        assert not any(re.search(never, sentence, re.I) for sentence in mine), mine
    assert told > 40
    alone = reports(one(effusion("small")), 120)
    assert not any(
        re.search(r"\b(?:prior|previous|interval|unchanged|new)\b", " ".join(sentences(r.text)))
        for r in alone
    )


def test_reports_do_not_repeat_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    spoken = [sentences(report.text) for _, report in made()]
    every = Counter(chain.from_iterable(spoken))
    words = [len(re.findall(r"\w+", " ".join(report))) for report in spoken]
    vocabulary = set(re.findall(r"[a-z][a-z'-]+", " ".join(every).lower()))
    sentence, most = every.most_common(1)[0]
    total = sum(every.values())
    with capsys.disabled():
        print(
            f"\n{COUNT} reports: {total} sentences, {len(every)} distinct, {len(vocabulary)} "
            f"words, commonest {most / total:.2%} ({sentence!r}), words per report "
            f"{np.percentile(words, (5, 50, 95))}"
        )
    assert len({report.text for _, report in made()}) == COUNT
    assert len(every) > 6000
    assert most / total < 0.03  # 2.2 % in the Indiana University reports
    assert len(vocabulary) > 600
    assert 35 < np.median(words) < 70
    assert np.percentile([len(report) for report in spoken], 5) >= 4
    assert np.percentile(words, 5) > 20 and np.percentile(words, 95) < 125


def test_grammar_is_sound() -> None:
    for _, report in made():
        assert "  " not in report.text
        assert not re.search(r"[{}\[\]|]| [.,;:]|\.\.|,,", report.text), report.text
        for sentence in sentences(report.text):
            assert re.match(r"[A-Z0-9]", sentence) and sentence.endswith("."), sentence
            assert not re.search(r"\b[Aa] (?:[aeio]|8|11 |18 |ET)", sentence), sentence
            assert not re.search(r"\b[Aa]n (?:[bcdfgjklmnpqrstvwxyz]|[0-79]\.)", sentence), sentence
            doubled = re.search(r"\b(\w+) \1\b", sentence.lower())
            assert not doubled, sentence


def test_headers_do_not_leak_findings() -> None:
    finding = re.compile(
        "|".join(NAMED.values()) + "|consolidation|opacity|nodule|atelectasis|catheter|foreign",
        re.I,
    )
    seen = 0
    for scene, report in made():
        for header in re.findall(
            r"(?:INDICATION|HISTORY|Indication|History): ([^\n.]*)\.", report.text
        ):
            seen += 1
            assert not finding.search(header), header
            assert re.search(
                rf"\b{scene.age}|___|^[A-Z]|{'wom|lady|fem' if scene.sex == 'F' else 'man|male'}",
                header,
            )
    assert seen > 500


def test_same_generator_same_report_in_any_process() -> None:
    scene = next(scene for scene, _ in made() if len(scene.findings) > 3 and scene.prior_findings)
    first, second = (write_phantom_report(scene, np.random.default_rng(3)) for _ in range(2))
    assert first.text == second.text
    assert write_phantom_report(scene, np.random.default_rng(4)).text != first.text
    code = (
        "import numpy as np, hashlib; from place_cxr.phantom.history import make_scene;from "
        "place_cxr.phantom.report import "
        "write_phantom_report;t=''.join(write_phantom_report(make_scene(2, i), "
        "np.random.default_rng(i)).text for i in "
        "range(40));print(hashlib.sha256(t.encode()).hexdigest())"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1
