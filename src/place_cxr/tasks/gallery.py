"""What the results page shows of single studies: where the network looks for each sentence, and how
places relate.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import (
    ABSENT,
    PRESENT,
    SPLITS,
    UNCERTAIN,
    RunLengths,
    Study,
    patient_key,
)
from place_cxr.core.tensors import Observations, PlaceOutputs, Views, move_to_device
from place_cxr.core.version import RESEARCH_NOTICE
from place_cxr.data.corpus import Corpus
from place_cxr.data.loader import tokens_of
from place_cxr.images.letterbox import Letterbox
from place_cxr.images.masks import load_mask
from place_cxr.images.read import read_image
from place_cxr.images.views import ViewSettings, eval_view, view_box
from place_cxr.losses.correlation import gram, gram_distance
from place_cxr.losses.pathology import selected_similarity
from place_cxr.models.place import PlaceModel
from place_cxr.predict import SELECTION_TEMPERATURE, phrase_map
from place_cxr.tasks.labels import finding_names
from place_cxr.text.reports import read_report

# Pixels of the longer side of an image in the gallery.
_IMAGE_SIZE = 320
# JPEG quality, 1 to 100.
_JPEG_QUALITY = 85
# About the largest number of points of an outline.
_OUTLINE_POINTS = 200
# Studies with more findings come last: the eye cannot tell them apart in one image.
_MAX_CLEAR_FINDINGS = 3


class HasViews(Protocol):
    """A run's configuration, as far as the gallery needs it."""

    @property
    def views(self) -> ViewSettings:
        """The views that the model was trained on."""


def write_gallery(
    model: PlaceModel,
    config: HasViews,
    corpus: Corpus,
    run: Path,
    *,
    count: int = 8,
    seed: int = 0,
    split: str = "test",
) -> Path:
    """Write ``run/gallery/gallery.json`` with ``count`` studies of ``split`` and their images;
    returns the folder.

    Holds pixels and report text of the data, but no identifiers: write it only for data that may be
    shown. Studies are those of `choose_gallery_rows`.

    Raises:
        PlaceError: PL-D224 if the split is empty.
    """
    rows = choose_gallery_rows(corpus, count=count, seed=seed, split=split)
    folder = run / "gallery"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    device = next(model.parameters()).device
    model.eval()
    studies = []

    with torch.no_grad():
        for number, row in enumerate(rows.tolist(), start=1):
            tokens = move_to_device(tokens_of(corpus.text, np.array([row])), device)
            pixels = torch.from_numpy(np.array(corpus.pixels.pixels[row : row + 1])).to(device)
            view = eval_view(pixels, config.views)
            out = model(Views(image=view, clean=view), tokens)
            thumbnail, study_record = _read_thumbnail(corpus.studies[row])
            thumbnail.save(folder / f"{number}.jpg", format="JPEG", quality=_JPEG_QUALITY)
            studies.append(
                {"number": number, "image": f"{number}.jpg", **study_record}
                | _describe_study(model, out, corpus, row, config.views, thumbnail.size)
            )

    table = {
        "notice": RESEARCH_NOTICE,
        "split": split,
        "seed": seed,
        "example": corpus.studies[int(rows[0])].report,
        "studies": studies,
    }
    (folder / "gallery.json").write_text(
        json.dumps(table, ensure_ascii=False, allow_nan=False), encoding="utf-8"
    )

    return folder


def write_data_card(corpus: Corpus, run: Path) -> Path:
    """Write ``run/data_card.json``: how often each finding is present, absent, uncertain, by split.
    Counts only.
    """
    names = finding_names(corpus.studies)
    labels_by_split = {}
    for split in SPLITS:
        labels_by_split[split] = [corpus.studies[row].labels for row in corpus.rows[split]]

    def counts(name: str, labels: Sequence[Mapping[str, float]]) -> dict[str, int]:
        count_of = Counter(label.get(name) for label in labels)
        values = {"present": PRESENT, "absent": ABSENT, "uncertain": UNCERTAIN}
        return {word: count_of[value] for word, value in values.items()}

    findings: dict[str, dict[str, dict[str, int]]] = {}
    for name in names:
        findings[name] = {split: counts(name, labels) for split, labels in labels_by_split.items()}

    table = {
        "notice": RESEARCH_NOTICE,
        "findings": findings,
    }
    file = run / "data_card.json"
    file.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    return file


def choose_gallery_rows(
    corpus: Corpus, *, count: int, seed: int, split: str = "test"
) -> NDArray[np.int64]:
    """Up to ``count`` rows of ``split`` that together show as many findings as possible, from
    different patients.

    Rows are visited in an order drawn by ``seed``. Studies of up to three findings, which an eye
    can tell apart, come before the others; each pick adds most findings with an outline that are
    not yet shown, then most findings at all, and among equals it is the one with fewest findings,
    then the first. The last pick is a study without any finding, where there is one.

    Raises:
        PlaceError: PL-D224 if the split is empty.
    """
    rows = corpus.rows.get(split, np.zeros(0, np.int64))
    if not len(rows):
        raise PlaceError(f"split '{split}' is empty", code="PL-D224", fix="split again")
    order = np.random.default_rng(seed).permutation(np.sort(rows)).tolist()
    order = [row for row in order if corpus.text.sentence_key[row].any()] or order
    present = {row: set(_present_findings(corpus.studies[row])) for row in order}
    outlined = {row: present[row] & set(corpus.studies[row].masks) for row in order}
    normal = [row for row in order if corpus.studies[row].labels and not present[row]][
        : 1 if count > 1 else 0
    ]
    picked: list[int] = []
    shown_findings: set[str] = set()
    patients = {patient_key(corpus.studies[row]) for row in normal}

    while len(picked) < count - len(normal):
        candidates = [row for row in order if patient_key(corpus.studies[row]) not in patients]
        if not candidates:
            break
        candidates = [
            row for row in candidates if len(present[row]) <= _MAX_CLEAR_FINDINGS
        ] or candidates
        row = max(
            candidates,
            key=lambda r: (
                len(outlined[r] - shown_findings),
                len(present[r] - shown_findings),
                -len(present[r]),
            ),
        )
        picked.append(row)
        patients.add(patient_key(corpus.studies[row]))
        shown_findings |= present[row]
        if all(present[row] <= shown_findings for row in candidates):
            shown_findings = set()  # each of them once; now again

    return np.array([*picked, *normal], dtype=np.int64)


def _present_findings(study: Study) -> list[str]:
    return [name for name, label in study.labels.items() if label == PRESENT]


def _read_thumbnail(study: Study) -> tuple[Image.Image, dict[str, Any]]:
    """The image, made small, and the outlines of its findings in pixels of the small image."""
    gray = read_image(study.image)
    height, width = gray.shape
    scale = _IMAGE_SIZE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    thumbnail = Image.fromarray(np.uint8(np.rint(255 * gray))).resize(
        size, Image.Resampling.BICUBIC
    )
    names = _present_findings(study)
    outlines = [
        {"finding": name, "paths": _outline_paths(study.masks[name], size)}
        for name in names
        if name in study.masks
    ]

    return thumbnail, {
        "width": size[0],
        "height": size[1],
        "findings": names,
        "outlines": [outline for outline in outlines if outline["paths"]],
    }


def _outline_paths(mask: Path | RunLengths, size: tuple[int, int]) -> list[list[list[float]]]:
    """Closed lines [[x, y], ...] around a mask, in pixels of the image shown."""
    from contourpy import contour_generator

    resized = Image.fromarray(np.float32(load_mask(mask))).resize(size, Image.Resampling.BILINEAR)
    padded = np.pad(np.asarray(resized), 1)
    lines = [
        np.asarray(line) for line in contour_generator(z=padded, line_type="Separate").lines(0.5)
    ]

    # Pixel centres lie at .5, and the padding moved them by one.
    return [
        np.round(line - 0.5, 1)[:: max(1, len(line) // _OUTLINE_POINTS)].tolist()
        for line in lines
        if len(line) > 3
    ]


def _describe_study(
    model: PlaceModel,
    out: PlaceOutputs,
    corpus: Corpus,
    row: int,
    views: ViewSettings,
    size: tuple[int, int],
) -> dict[str, Any]:
    """What the model says of one study, as plain lists."""
    letterbox = corpus.pixels.letterbox(row)
    left, top, side = view_box(views, letterbox.size)
    x, y = letterbox.width / letterbox.inner_w, letterbox.height / letterbox.inner_h
    scale_x, scale_y = size[0] / letterbox.width, size[1] / letterbox.height
    rows, columns = model.image_encoder.spec.grid
    visual = out.visual.vectors

    return {
        "view": [
            round(v, 2)
            for v in (
                (left - letterbox.left) * x * scale_x,
                (top - letterbox.top) * y * scale_y,
                side * x * scale_x,
                side * y * scale_y,
            )
        ],
        "grid": [rows, columns],
        "sentences": _describe_sentences(out, corpus.studies[row].report, (rows, columns)),
        "similarity": _to_rounded_list(visual[0] @ visual[0].T, 3),
        "correlation": _describe_correlation(
            out, corpus.studies[row], letterbox, (left, top, side), (rows, columns)
        ),
    }


def _describe_sentences(
    out: PlaceOutputs, report: str, grid: tuple[int, int]
) -> list[dict[str, Any]]:
    """Each sentence with its map over the patches and how well it matches; none of it for one that
    is only read.
    """
    report_text = read_report(report)
    observed_flags = (
        report_text.is_observation
        if any(report_text.is_observation)
        else (True,) * len(report_text.sentences)
    )
    text, mask = out.textual.vectors[0], out.textual.mask[0]
    visual, attention, patches = (
        x.expand(len(text), -1, -1) for x in (out.visual.vectors, out.attention, out.patches)
    )
    observations = Observations(text[:, None], torch.ones_like(mask)[:, None])
    maps = phrase_map(visual, attention, patches, observations, grid)
    match = selected_similarity(out.visual.vectors, text[None], SELECTION_TEMPERATURE)[0, 0]
    entries, number = [], 0

    for sentence, is_observed in zip(report_text.sentences, observed_flags, strict=True):
        has_map = is_observed and number < len(text) and bool(mask[number])
        heat = (
            _to_rounded_list((maps[number] / maps[number].max().clamp(min=1e-12)).flatten(), 3)
            if has_map
            else None
        )
        entries.append(
            {
                "text": sentence,
                "heat": heat,
                "match": round(float(match[number]), 4) if has_map else None,
            }
        )
        number += is_observed

    return entries


def _describe_correlation(
    out: PlaceOutputs,
    study: Study,
    letterbox: Letterbox,
    view: tuple[int, int, int],
    grid: tuple[int, int],
) -> dict[str, Any] | None:
    """Row of the predicted and of the target correlation for the patch that holds most of the first
    outline.
    """
    if out.correlation is None:
        return None
    predicted, target = gram(out.correlation.predicted), gram(out.correlation.target)
    patch = _outlined_patch(study, letterbox, view, grid)

    return {
        "patch": patch,
        "predicted": _to_rounded_list(predicted[0, patch], 3),
        "target": _to_rounded_list(target[0, patch], 3),
        "agreement": round(1 - float(gram_distance(predicted, target)[0]), 4),
    }


def _outlined_patch(
    study: Study, letterbox: Letterbox, view: tuple[int, int, int], grid: tuple[int, int]
) -> int:
    """Number of the patch that the first outlined finding covers most; the middle one where there
    is none.
    """
    rows, columns = grid
    names = [name for name in _present_findings(study) if name in study.masks]
    if names:
        left, top, side = view
        mask_view = letterbox.to_square(load_mask(study.masks[names[0]]))[
            top : top + side, left : left + side
        ]
        coverage = np.asarray(
            Image.fromarray(mask_view).resize((columns, rows), Image.Resampling.BOX)
        )
        if coverage.any():
            return int(coverage.argmax())

    return rows // 2 * columns + columns // 2


def _to_rounded_list(values: torch.Tensor, digits: int) -> list[Any]:
    return np.round(values.cpu().double().numpy(), digits).tolist()
