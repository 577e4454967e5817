"""A data card: counts that describe a data set and identify nobody.

Views and sexes are counted by an allow-list, ages in bands with the oldest together, sites only by
their number. Of the reports, only sentences about the image that at least MIN_PATIENTS patients
share are shown.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import ABSENT, PRESENT, SPLITS, UNCERTAIN, Study, patient_key
from place_cxr.core.version import RESEARCH_NOTICE
from place_cxr.data.checks.check import CheckedDataset
from place_cxr.data.checks.faults import count_by_code, describe_code
from place_cxr.data.checks.image_quality import MIN_LETTERS
from place_cxr.data.splits.by_patient import hash_splits
from place_cxr.images.letterbox import resize_by_area
from place_cxr.images.read import read_scaled_image
from place_cxr.text.reports import TEXT_ORIGINS, normalize_sentence, read_report

MIN_PATIENTS = 5  # with this sentence, before it is shown
_MAX_SENTENCES = 20
# Values outside these lists are counted as "other": free text may name somebody.
_VIEWS = ("PA", "AP", "AP SUPINE", "LATERAL")
_LATERAL = ("L", "LL", "RL", "LATERAL", "LEFT LATERAL")
_SAMPLE_SIZE = 128  # pixels of an image on the page
_AGE_BAND = 10  # years
_OLDEST = 90  # years and more: so few patients that an age could identify one
_LABEL_WORDS: dict[float | None, str] = {
    PRESENT: "present",
    ABSENT: "absent",
    UNCERTAIN: "uncertain",
}
_NOT_MENTIONED = "not mentioned"
_ALL_LABEL_WORDS = (*_LABEL_WORDS.values(), _NOT_MENTIONED)

_Counts = dict[str, dict[str, int]]


def build_data_card(checked: CheckedDataset, source: str, about_source: str) -> dict[str, Any]:
    """Plain JSON values: counts by split, labels, reports, images, hashes and faults."""
    studies = checked.studies
    reports, sentences = _report_counts(studies)

    return {
        "notice": RESEARCH_NOTICE,
        "source": source,
        "about": about_source,
        "licences": dict(Counter(checked.licenses).most_common()),
        "totals": {
            "rows": checked.total,
            "images": len(studies),
            "studies": len({study.id for study in studies}),
            "patients": len({study.patient for study in studies if study.patient}),
            "sites": len({study.site for study in studies if study.site}),
        },
        "splits": _split_counts(studies),
        "view": _count_by_split(studies, (_view(study.view) for study in studies)),
        "sex": _count_by_split(studies, (_sex(study.sex) for study in studies)),
        "age": _count_by_split(studies, (_age(study.age) for study in studies)),
        "findings": _label_counts(studies, [study.labels for study in studies]),
        "said": _label_counts(studies, [study.said for study in studies]),
        "reports": reports,
        "sentences": sentences,
        "pictures": _image_counts(checked),
        "hashes": {
            "split_digest": hash_splits(studies),
            "files": hashlib.sha256(
                "".join(sorted(image.sha256 for image in checked.images)).encode()
            ).hexdigest(),
        },
        "check": [
            {"code": code, "count": count, "about": describe_code(code)}
            for code, count in count_by_code(checked.faults).items()
        ],
    }


def sample_images(checked: CheckedDataset, count: int) -> list[NDArray[np.float32]]:
    """Up to ``count`` images [128, 128], evenly over the rows.

    Images with burnt-in text are left out: it may be a name.
    """
    positions = [
        position
        for position, image in enumerate(checked.images)
        if image.stats and image.stats.letters < MIN_LETTERS
    ]
    # Evenly over the rows, as tables are often sorted by patient or finding.
    chosen = positions[:: max(1, len(positions) // max(1, count))][:count]

    return [
        resize_by_area(
            read_scaled_image(checked.studies[position].image, _SAMPLE_SIZE),
            _SAMPLE_SIZE,
            _SAMPLE_SIZE,
        )
        for position in chosen
    ]


def _split(study: Study) -> str:
    return study.split if study.split in SPLITS else "no split"


def _split_counts(studies: Sequence[Study]) -> _Counts:
    split_counts: _Counts = {}
    for name in (*SPLITS, "no split"):
        part = [study for study in studies if _split(study) == name]
        if part:
            patients = len({study.patient for study in part if study.patient})
            split_counts[name] = {
                "images": len(part),
                "studies": len({study.id for study in part}),
                "patients": patients,
            }

    return split_counts


def _count_by_split(studies: Sequence[Study], values: Iterable[str]) -> _Counts:
    """value -> split -> count, in the order of the values' text."""
    value_counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for study, value in zip(studies, values, strict=True):
        value_counts[value][_split(study)] += 1

    return {value: dict(value_counts[value]) for value in sorted(value_counts)}


def _view(text: str) -> str:
    view = text.strip().upper()
    if not view:
        return "not known"
    return "LATERAL" if view in _LATERAL else view if view in _VIEWS else "other"


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
    low = int(age // _AGE_BAND * _AGE_BAND)
    return f"{low:02d} to {low + _AGE_BAND - 1:02d}"


def _label_counts(
    studies: Sequence[Study], labels: Sequence[Mapping[str, float]]
) -> dict[str, _Counts]:
    """finding -> split -> how often present, absent, uncertain, not mentioned."""
    names = list(dict.fromkeys(chain.from_iterable(labels)))
    finding_counts: dict[str, _Counts] = {}
    for name in names:
        table: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for study, study_labels in zip(studies, labels, strict=True):
            # NaN is no key of the table, as it equals nothing.
            word = _LABEL_WORDS.get(study_labels.get(name), _NOT_MENTIONED)
            table[_split(study)][word] += 1

        order = [split for split in (*SPLITS, "no split") if split in table]
        finding_counts[name] = {}
        for split in order:
            counts = table[split]
            finding_counts[name][split] = {word: counts[word] for word in _ALL_LABEL_WORDS}

    return finding_counts


def _report_counts(studies: Sequence[Study]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How many reports there are, how long and how read; and the sentences that many patients
    share.
    """
    words: list[int] = []
    origins: Counter[str] = Counter()

    patients: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    times: Counter[str] = Counter()
    for study in studies:
        try:
            report = read_report(study.report)
        except PlaceError:
            continue

        origins[report.origin] += 1
        words.append(len(study.report.split()))
        for sentence, observes in zip(report.sentences, report.is_observation, strict=True):
            if observes:
                text = normalize_sentence(sentence)
                patients[text].add(patient_key(study))
                times[text] += 1

    # A sentence that few patients have may describe one of them.
    shared = [
        (text, count)
        for text, count in times.items()
        if text and len(patients[text]) >= MIN_PATIENTS
    ]
    shared.sort(key=lambda pair: (-pair[1], pair[0]))
    top = [
        {"sentence": text, "times": n, "patients": len(patients[text])}
        for text, n in shared[:_MAX_SENTENCES]
    ]
    read_as = {origin: origins[origin] for origin in TEXT_ORIGINS if origins[origin]}

    return {
        "with": len(words),
        "without": len(studies) - len(words),
        "words": _quartiles(words),
        "read_as": read_as,
    }, top


def _image_counts(checked: CheckedDataset) -> dict[str, Any]:
    stats = [image.stats for image in checked.images if image.stats is not None]
    sizes = {
        "height": _quartiles([image_stats.height for image_stats in stats]),
        "width": _quartiles([image_stats.width for image_stats in stats]),
    }

    return {
        "readable": len(stats),
        **sizes,
        "chest_score": _quartiles([image_stats.chest for image_stats in stats]),
    }


def _quartiles(values: Sequence[float]) -> dict[str, float]:
    """Smallest, quartiles and largest; empty where there is nothing."""
    if not values:
        return {}

    names = ("least", "quarter", "median", "three quarters", "most")
    return {
        name: round(float(value), 3)
        for name, value in zip(names, np.percentile(values, (0, 25, 50, 75, 100)), strict=True)
    }
