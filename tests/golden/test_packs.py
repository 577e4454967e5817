"""The bytes of packs of known files: where they change, the rule's number must rise, or old packs
pass for new ones.

``packs.json`` holds both; ``python -m tests.golden.test_packs`` writes it again and refuses to
where a rule was not raised. All inputs are integers, so that processors agree.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from place_cxr.core.records import Study
from place_cxr.data.packs.cached import (
    PIXEL_RULE,
    TEXT_RULE,
    pack_pixels,
    pack_text,
)
from place_cxr.text.reports import read_report
from place_cxr.text.tokenizer import Tokenizer
from tests.images import dicoms

FILE = Path(__file__).with_name("packs.json")
REPORTS = (
    "FINDINGS: The heart is enlarged. No pleural effusion or pneumothorax.\nIMPRESSION: "
    "Cardiomegaly.",
    "EXAMINATION: Chest, two views.\nCOMPARISON: None.\nFINDINGS:\n1. Left basal opacity, ca. 1.5 "
    "cm.\n2. ___ lines.",
    "PA AND LATERAL CHEST. Lungs clear.   Mediastinum within\nnormal limits; no acute osseous "
    "abnormality",
    "Small right effusion, unchanged vs. yesterday. Dr. X was called at 3:15 p.m. Recommend CT.",
    "INDICATION: r/o pneumonia\n\nFINDINGS: ETT 4 cm above the carina. NG tube in stomach. No PTX.",
)


def picture(height: int, width: int, top: int) -> np.ndarray[Any, Any]:
    """A pattern of whole numbers from 0 to ``top`` without any symmetry."""
    y, x = np.mgrid[0:height, 0:width]
    return (7 * x + 3 * y + x * y // 5 + (x // 9) * (y // 7) * 11) % (top + 1)


def files(folder: Path) -> list[Path]:
    """Every kind of image file that is read, in shapes that need all sides of the letterbox."""
    grey = picture(131, 97, 255).astype(np.uint8)
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(np.dstack([grey, grey[::-1], grey[:, ::-1]])).save(folder / "color.png")
    Image.fromarray(picture(90, 140, 65535).astype(np.uint16)).save(folder / "deep.png")
    Image.fromarray(picture(300, 260, 255).astype(np.uint8)).save(folder / "photo.jpg", quality=92)
    Image.fromarray(picture(64, 64, 255).astype(np.uint8)).save(folder / "film.tif")
    twelve = picture(120, 100, 4095).astype(np.uint16)
    (folder / "plain.dcm").write_bytes(dicoms.dicom(twelve))
    elements = {
        "PhotometricInterpretation": "MONOCHROME1",
        "WindowCenter": 1800,
        "WindowWidth": 2500,
    }
    (folder / "negative.dcm").write_bytes(dicoms.dicom(twelve, dicoms.JPEG_2000, **elements))
    return sorted(folder.iterdir())


def taken(folder: Path) -> dict[str, Any]:
    """Rule and digest of pixels and of tokens, packed anew in ``folder``."""
    images, root = folder / "images", folder / "cache"
    images.mkdir()
    studies = [Study(path.name, path, "") for path in files(images)]
    pack = pack_pixels(studies, 48, root, workers=1)
    assert len(pack.rows) == len(studies)
    sentences = [*chain(*(read_report(report).sentences for report in REPORTS))]
    tokenizer = Tokenizer.train(sentences * 2, 160)
    written = [
        Study(str(number), images / "grey.png", report) for number, report in enumerate(REPORTS)
    ]
    text = pack_text(written, tokenizer, root, 48, 6)
    tokens = hashlib.sha256()
    for array in (text.ids, text.sentence, text.sentence_key, text.report_key):
        tokens.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return {
        "pixels": {
            "rule": PIXEL_RULE,
            "digest": hashlib.sha256(np.asarray(pack.pixels).tobytes()).hexdigest(),
        },
        "tokens": {"rule": TEXT_RULE, "digest": tokens.hexdigest()},
    }


def test_bytes_change_only_with_their_rule(tmp_path: Path) -> None:
    assert taken(tmp_path) == json.loads(FILE.read_text("utf-8")), (
        "raise PIXEL_RULE or TEXT_RULE, then record again"
    )


def record() -> None:
    """Write ``packs.json``; a digest may only change together with its rule."""
    before = json.loads(FILE.read_text("utf-8")) if FILE.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        now = taken(Path(folder))
    for kind, entry in before.items():
        if entry["digest"] != now[kind]["digest"] and entry["rule"] >= now[kind]["rule"]:
            raise SystemExit(f"{kind} have other bytes: raise the rule from {entry['rule']} first")
    FILE.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    record()
