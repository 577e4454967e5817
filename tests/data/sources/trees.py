"""Small trees in published layouts: text files, and pictures of a few pixels."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from place_cxr.core.records import Study


def write(root: Path, name: str, text: str | bytes) -> Path:
    """A file below ``root``, gzipped where the name says so."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def picture(root: Path, name: str, side: int = 64) -> Path:
    """A grey ramp as PNG or JPEG."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").resize((side, side)).save(path)
    return path


def mimic_tree(root: Path, studies: Sequence[Study]) -> Path:
    """The studies' pictures and reports as MIMIC-CXR-JPG has them: a PA and a lateral picture each,
    splits as theirs.

    The last study has a report without findings and impression, and its view position is empty.
    """
    names = {"train": "train", "val": "validate", "test": "test"}
    split, metadata = (
        ["dicom_id,study_id,subject_id,split"],
        ["dicom_id,subject_id,study_id,ViewPosition,Rows,Columns"],
    )
    for number, study in enumerate(studies):
        last = number == len(studies) - 1
        patient, examination = 10_000_000 + number, 50_000_000 + number
        where = f"files/p{str(patient)[:2]}/p{patient}/s{examination}"
        body = f" FINDINGS: \n \n {study.report}\n \n IMPRESSION:  As above, none new.\n"
        sections = " HISTORY:  None.\n" if last else body
        write(root, f"{where}.txt", " " * 33 + f"FINAL REPORT\n{sections}")
        for view in ("" if last else "PA", "LATERAL"):
            dicom = f"{number:08x}-{view or 'none'}"
            path = write(root, f"{where}/{dicom}.jpg", b"")
            with Image.open(study.image) as image:
                image.convert("L").save(path, quality=90)
            split.append(f"{dicom},{examination},{patient},{names[study.split]}")
            metadata.append(f"{dicom},{patient},{examination},{view},3056,2544")
    write(root, "mimic-cxr-2.0.0-split.csv.gz", "\n".join(split) + "\n")
    write(root, "mimic-cxr-2.0.0-metadata.csv.gz", "\n".join(metadata) + "\n")
    return root
