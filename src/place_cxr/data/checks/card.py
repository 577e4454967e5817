"""A data card: counts that describe a data set and identify nobody.

Views and sexes are counted by an allow-list, ages in bands with the oldest together, sites only by their number. Of
report text only sentences about the picture are told that at least PATIENTS patients share.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import ABSENT, PRESENT, SPLITS, UNCERTAIN, Study
from place_cxr.data.checks.check import Examined
from place_cxr.data.checks.faults import about, counts
from place_cxr.data.checks.image_quality import LETTERS
from place_cxr.data.splits.by_patient import digest
from place_cxr.images.letterbox import shrink
from place_cxr.images.read import decode_scaled
from place_cxr.text.reports import ORIGINS, normalise, read_report

NOTICE = "Research use only. Not a medical device. Do not use for diagnosis."
PATIENTS = 5  # who share a sentence before it is told
SENTENCES = 20
VIEWS = ("PA", "AP", "AP SUPINE", "LATERAL")
_LATERAL = ("L", "LL", "RL", "LATERAL", "LEFT LATERAL")
_SHOWN = 128  # pixels of a picture on the page
_BAND = 10  # years
_OLDEST = 90  # and older: so few that an age could name them
_VALUES = {"present": PRESENT, "absent": ABSENT, "uncertain": UNCERTAIN}

Table = dict[str, dict[str, int]]


def data_card(examined: Examined, source: str, about_source: str) -> dict[str, Any]:
    """Plain JSON values: counts by split, labels, reports, pictures, hashes and what the check found."""
    studies = examined.studies
    reports, sentences = _reports(studies)
    return {
        "notice": NOTICE,
        "source": source,
        "about": about_source,
        "licences": dict(Counter(examined.licences).most_common()),
        "totals": {
            "rows": examined.total,
            "images": len(studies),
            "studies": len({study.id for study in studies}),
            "patients": len({study.patient for study in studies if study.patient}),
            "sites": len({study.site for study in studies if study.site}),
        },
        "splits": _splits(studies),
        "view": _by_split(studies, (_view(study.view) for study in studies)),
        "sex": _by_split(studies, (_sex(study.sex) for study in studies)),
        "age": _by_split(studies, (_age(study.age) for study in studies)),
        "findings": _labels(studies, [study.labels for study in studies]),
        "said": _labels(studies, [study.said for study in studies]),
        "reports": reports,
        "sentences": sentences,
        "pictures": _pictures(examined),
        "hashes": {
            "split_digest": digest(studies),
            "files": hashlib.sha256("".join(sorted(one.sha256 for one in examined.seen)).encode()).hexdigest(),
        },
        "check": [
            {"code": code, "count": count, "about": about(code)} for code, count in counts(examined.faults).items()
        ],
    }


def sample(examined: Examined, count: int) -> list[NDArray[np.float32]]:
    """Up to ``count`` pictures [128, 128], evenly over the rows; none with burnt-in text, of which a name may be."""
    places = [place for place, one in enumerate(examined.seen) if one.look and one.look.letters < LETTERS]
    chosen = places[:: max(1, len(places) // max(1, count))][:count]
    return [shrink(decode_scaled(examined.studies[place].image, _SHOWN), _SHOWN, _SHOWN) for place in chosen]


def _split(study: Study) -> str:
    return study.split if study.split in SPLITS else "no split"


def _splits(studies: Sequence[Study]) -> Table:
    found: Table = {}
    for name in (*SPLITS, "no split"):
        part = [study for study in studies if _split(study) == name]
        if part:
            patients = len({study.patient for study in part if study.patient})
            found[name] = {"images": len(part), "studies": len({study.id for study in part}), "patients": patients}
    return found


def _by_split(studies: Sequence[Study], values: Iterable[str]) -> Table:
    """value -> split -> count, in the order of the values' text."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for study, value in zip(studies, values, strict=True):
        found[value][_split(study)] += 1
    return {value: dict(found[value]) for value in sorted(found)}


def _view(text: str) -> str:
    view = text.strip().upper()
    if not view:
        return "not known"
    return "LATERAL" if view in _LATERAL else view if view in VIEWS else "other"


def _sex(text: str) -> str:
    sex = text.strip().upper()
    if not sex:
        return "not known"
    return {"F": "F", "FEMALE": "F", "W": "F", "M": "M", "MALE": "M"}.get(sex, "other")


def _age(age: float | None) -> str:
    if age is None:
        return "not known"
    if age >= _OLDEST:
        return f"{_OLDEST} and over"
    low = int(age // _BAND * _BAND)
    return f"{low:02d} to {low + _BAND - 1:02d}"


def _labels(studies: Sequence[Study], labels: Sequence[Mapping[str, float]]) -> dict[str, Table]:
    """finding -> split -> how often present, absent, uncertain, not mentioned."""
    names = list(dict.fromkeys(name for one in labels for name in one))
    found: dict[str, Table] = {}
    for name in names:
        table: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for study, one in zip(studies, labels, strict=True):
            value = one.get(name)
            word = next((word for word, known in _VALUES.items() if value == known), "not mentioned")
            table[_split(study)][word] += 1
        order = [split for split in (*SPLITS, "no split") if split in table]
        found[name] = {split: {word: table[split][word] for word in (*_VALUES, "not mentioned")} for split in order}
    return found


def _reports(studies: Sequence[Study]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How many reports there are, how long and how read; and the sentences that many patients share."""
    words: list[int] = []
    origins: Counter[str] = Counter()
    patients: defaultdict[str, set[str]] = defaultdict(set)
    times: Counter[str] = Counter()
    for study in studies:
        try:
            report = read_report(study.report)
        except PlaceError:
            continue
        origins[report.origin] += 1
        words.append(len(study.report.split()))
        for sentence, observes in zip(report.sentences, report.observes, strict=True):
            if observes:
                text = normalise(sentence)
                patients[text].add(study.patient or study.id)
                times[text] += 1
    shared = [(text, count) for text, count in times.items() if text and len(patients[text]) >= PATIENTS]
    shared.sort(key=lambda pair: (-pair[1], pair[0]))
    top = [{"sentence": text, "times": n, "patients": len(patients[text])} for text, n in shared[:SENTENCES]]
    read = {origin: origins[origin] for origin in ORIGINS if origins[origin]}
    return {"with": len(words), "without": len(studies) - len(words), "words": _spread(words), "read_as": read}, top


def _pictures(examined: Examined) -> dict[str, Any]:
    looks = [one.look for one in examined.seen if one.look is not None]
    sizes = {"height": _spread([look.height for look in looks]), "width": _spread([look.width for look in looks])}
    return {"readable": len(looks), **sizes, "chest_score": _spread([look.chest for look in looks])}


def _spread(values: Sequence[float]) -> dict[str, float]:
    """Smallest, quartiles and largest; empty where there is nothing."""
    if not values:
        return {}
    names = ("least", "quarter", "median", "three quarters", "most")
    return {
        name: round(float(value), 3)
        for name, value in zip(names, np.percentile(values, (0, 25, 50, 75, 100)), strict=True)
    }
