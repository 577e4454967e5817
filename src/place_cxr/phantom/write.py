"""Phantom studies, in memory or as files in the layout of a user's own data set."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from place_cxr.core.errors import PlaceError
from place_cxr.core.files import write_atomic
from place_cxr.core.records import Box
from place_cxr.core.workers import CHUNK_SIZE, available_cores, map_in_chunks, refuse_if_spawned
from place_cxr.phantom.anatomy import build_anatomy
from place_cxr.phantom.findings import paint_findings
from place_cxr.phantom.grid import BoolMap, Grid
from place_cxr.phantom.history import make_scene, patient_of, split_of
from place_cxr.phantom.render import render_radiograph
from place_cxr.phantom.report import write_phantom_report
from place_cxr.phantom.scene import PHANTOM_FINDINGS, Scene

_CARINA = 0.385  # distance of the carina from the top of the image, as a fraction of its edge


@dataclass(frozen=True, slots=True)
class PhantomStudy:
    """One study: ``image`` is uint8 [size, size].

    ``masks`` maps each present finding to bool [size, size]. ``labels`` is true of the scene,
    ``said`` is what the report states.
    """

    image: np.ndarray
    masks: dict[str, BoolMap]
    boxes: tuple[Box, ...]
    labels: dict[str, float]
    said: dict[str, float]
    report: str
    scene: Scene


def render_scene(scene: Scene, size: int) -> tuple[np.ndarray, tuple[BoolMap, ...]]:
    """The image, uint8 [size, size], and the mask of each of the scene's findings."""
    body = scene.body
    grid = Grid(size, body.fov, -body.fov / 2 + body.shift[0], -body.fov * _CARINA + body.shift[1])
    anatomy = build_anatomy(grid, body, scene.view, scene.sex)
    masks = paint_findings(anatomy, scene)
    rng = np.random.Generator(np.random.Philox(key=scene.noise_key))

    return render_radiograph(anatomy, body, scene.site, rng), masks


def boxes_of(scene: Scene, masks: tuple[BoolMap, ...]) -> tuple[Box, ...]:
    """The tight box of each finding; one for each side of a bilateral finding."""
    boxes = []
    for finding, mask in zip(scene.findings, masks, strict=True):
        halves = [mask]
        if finding.side == "bilateral":
            size, body = mask.shape[1], scene.body
            # x of each pixel column, mm: positive on the patient's left.
            x = (np.arange(size) + 0.5) / size * body.fov - body.fov / 2 + body.shift[0]
            halves = [mask & (x > 0), mask & ~(x > 0)]

        for half in halves:
            rows, columns = np.flatnonzero(half.any(1)), np.flatnonzero(half.any(0))
            if len(rows):
                edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
                boxes.append(Box(finding.name, *(float(edge) for edge in edges)))

    return tuple(boxes)


def make_study(seed: int, index: int, size: int) -> PhantomStudy:
    """Study ``index`` of the phantoms of ``seed``, ``size`` by ``size`` pixels.

    It does not depend on which other studies are made.
    """
    scene = make_scene(seed, index)
    image, masks = render_scene(scene, size)

    # One mask for each name: several nodules share it.
    merged: dict[str, BoolMap] = {}
    for finding, mask in zip(scene.findings, masks, strict=True):
        merged[finding.name] = merged[finding.name] | mask if finding.name in merged else mask

    rng = np.random.Generator(np.random.Philox(key=[scene.noise_key, 5]))
    report = write_phantom_report(scene, rng)

    return PhantomStudy(
        image, merged, boxes_of(scene, masks), scene.labels, report.said, report.text, scene
    )


def write_phantom(
    out: Path | str,
    studies: int,
    size: int,
    seed: int,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write ``studies`` studies under ``out``: images/, masks/ and manifest.csv.

    Returns the path of the manifest. The bytes depend on ``studies``, ``size`` and ``seed`` alone.
    ``progress`` is called with the number of studies written and of all studies. Raises PL-C101 for
    a size below 32 or no studies, and PL-D402 and PL-E013 as ``map_in_chunks`` does.
    """
    refuse_if_spawned()  # before a file of the first process is touched
    if studies < 1 or size < 32:
        raise PlaceError(
            "a phantom has at least 1 study of 32 pixels",
            code="PL-C101",
            fix="raise --studies or --size",
        )

    out = Path(out)
    (out / "images").mkdir(parents=True, exist_ok=True)
    (out / "masks").mkdir(exist_ok=True)

    # Two chunks at least for each process: to start one takes longer than to write a few studies.
    most = -(-studies // (2 * CHUNK_SIZE))
    workers = max(1, min(workers or available_cores(), most))
    rows: list[dict[str, str]] = [{}] * studies
    done = 0
    for start, written in map_in_chunks(_write_chunk, range(studies), workers, (out, seed, size)):
        rows[start : start + len(written)] = written
        done += len(written)
        if progress is not None:
            progress(done, studies)

    # The manifest comes last and at once: where it stands, the images it names do too.
    manifest = out / "manifest.csv"
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(manifest, text.getvalue().encode())

    return manifest


def _columns() -> list[str]:
    columns = ["image", "report", "split", "study", "patient", "view", "sex", "age", "site"]
    for kind in ("labels", "said", "mask"):
        columns += [f"{kind}.{name}" for name in PHANTOM_FINDINGS]

    return [*columns, "boxes"]


def _write_chunk(
    start: int, indices: Sequence[int], out: Path, seed: int, size: int
) -> list[dict[str, str]]:
    return [_write_study(out, seed, index, size) for index in indices]


def _png(path: Path, image: Image.Image) -> None:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    path.write_bytes(buffer.getvalue())


def _write_study(out: Path, seed: int, index: int, size: int) -> dict[str, str]:
    study = make_study(seed, index, size)
    scene = study.scene

    name = f"images/{scene.study}.png"
    _png(out / name, Image.fromarray(study.image))
    boxes = [
        {"finding": box.finding, "x0": box.x0, "y0": box.y0, "x1": box.x1, "y1": box.y1}
        for box in study.boxes
    ]
    row = {
        "image": name,
        "report": study.report,
        "split": split_of(seed, patient_of(seed, index)[0]),
        "study": scene.study,
        "patient": scene.patient,
        "view": scene.view,
        "sex": scene.sex,
        "age": str(scene.age),
        "site": scene.site,
        "boxes": json.dumps(boxes),
    }
    row |= {f"labels.{key}": f"{value:g}" for key, value in study.labels.items()}
    for key, value in study.said.items():
        row[f"said.{key}"] = "" if math.isnan(value) else f"{value:g}"

    for finding, mask in study.masks.items():
        relative = f"masks/{scene.study}_{finding.replace(' ', '_').lower()}.png"
        _png(out / relative, Image.fromarray(mask))
        row[f"mask.{finding}"] = relative

    return row
