"""Boxes in COCO format: images, categories, and annotations with bbox [x, y, width, height] in
pixels.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Box


def read_coco_boxes(file: Path) -> dict[str, tuple[Box, ...]]:
    """File name, as written in the file -> boxes, in the order of the annotations; images without
    boxes have ().

    A box of width or height 0 is left out. Raises PL-D202 for a file that is not COCO format.
    """
    try:
        content = json.loads(file.read_text("utf-8-sig"))
        findings = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
        names = {entry["id"]: str(entry["file_name"]) for entry in content["images"]}
        boxes_by_name: dict[str, list[Box]] = {name: [] for name in names.values()}
        for entry in content["annotations"]:
            x, y, width, height = (float(side) for side in entry["bbox"])
            if not all(map(math.isfinite, (x, y, width, height))):
                raise ValueError
            if width > 0 and height > 0:
                boxes_by_name[names[entry["image_id"]]].append(
                    Box(findings[entry["category_id"]], x, y, x + width, y + height)
                )
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        problem = "not boxes in COCO's form (images, categories, annotations with bbox)"
        raise PlaceError(problem, code="PL-D202", file=file, fix="export it again") from None

    return {name: tuple(boxes) for name, boxes in boxes_by_name.items()}
