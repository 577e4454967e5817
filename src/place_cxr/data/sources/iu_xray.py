"""Indiana University chest X-rays (Open-i): two views of a study with the report and expert MeSH
terms.

Licence: CC BY-NC-ND 4.0 (in the XML); may not be passed on in altered form. Demner-Fushman et al.,
JAMIA 23(2), 2016. How to get it: openi.nlm.nih.gov/faq (``NLMCXR_reports.tgz``,
``NLMCXR_png.tgz``); R2Gen's form from its README. Layout: the XML files in ``ecgen-radiology/`` or
``root``, the PNGs in ``NLMCXR_png/`` or ``root``, named as in the XML. R2Gen: ``annotation.json``
({train, val, test} of {id, report, image_path, split}) and ``images/<id>/0.png``, ``1.png``; where
it is there, it is read, and the XML is not. Counts: 7,470 images, 3,955 reports; R2Gen
2,069/296/590 studies of two views with findings. Text: findings and impression (R2Gen: findings
alone). "XXXX" is the publisher's redaction. Labels: heads of the major MeSH terms are PRESENT; what
is not listed has not been stated and is no key. "normal" is "No Finding". R2Gen's form has none.
Splits: none of its own (``patient``, by report, as patients are not known); R2Gen's ``r2gen`` where
its file is. Traps: the view is not in the XML (captions say "PA and lateral" for both images);
104 reports have no image and 25 images lost their report [counts not verified]; many normal
reports are equal, word by word, across splits. The XML is read by a parser that refuses entities
and document types.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import PRESENT, Study
from place_cxr.data.sources.files import (
    check_relative_path,
    find_optional_file,
    index_files,
    join_sections,
)

_R2GEN_SPLITS = ("train", "val", "test")
_MAX_XML_BYTES = 2_000_000  # bytes of an XML file; published ones have under 20,000
_NO_TERM = ("normal", "no indexing", "technical quality of image unsatisfactory ")


def read(root: Path, split: str = "") -> list[Study]:
    """A study for each image; both views of a study share id and report.

    ``split`` "" is that of R2Gen where its file exists, else ``patient``.
    """
    annotation = find_optional_file(root, "annotation.json")
    if annotation is not None and split != "patient":
        return list(_read_r2gen(root, annotation))

    if split == "r2gen":
        raise PlaceError(
            "no file annotation.json",
            code="PL-D205",
            file=root,
            fix="use split=patient, or get R2Gen's",
        )

    files = sorted(root.glob("ecgen-radiology/*.xml")) or sorted(root.glob("*.xml"))
    if not files:
        raise PlaceError(
            "no XML files", code="PL-D205", file=root, fix="unpack NLMCXR_reports.tgz there"
        )

    folder = root / "NLMCXR_png"
    paths_by_name = index_files(folder if folder.is_dir() else root)

    studies: list[Study] = []
    for file in files:
        studies += _read_open_i(root, file, paths_by_name)

    return studies


def _read_open_i(root: Path, file: Path, paths_by_name: dict[str, str]) -> Iterator[Study]:
    tree = _parse(file)
    sections = {}
    for part in tree.iter("AbstractText"):
        sections[part.get("Label", "")] = "".join(part.itertext())

    report = join_sections(sections.get("FINDINGS", ""), sections.get("IMPRESSION", ""))
    labels = _labels(tree)
    for image_element in tree.iter("parentImage"):
        name = check_relative_path(file, 1, f"{image_element.get('id', '')}.png")
        yield Study(
            id=file.stem,
            image=Path(paths_by_name.get(name) or root / "NLMCXR_png" / name),
            report=report,
            labels=labels,
        )


def _parse(file: Path) -> Element:
    try:
        if file.stat().st_size > _MAX_XML_BYTES:
            raise PlaceError(
                "too large for a report", code="PL-D233", file=file, fix="copy it again"
            )
        tree: Element = fromstring(file.read_bytes(), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        problem = "not a plain XML file of a report (damaged, or with a document type or entities)"
        raise PlaceError(problem, code="PL-D233", file=file, fix="copy it again") from None

    return tree


def _labels(tree: Element) -> dict[str, float]:
    # A term is a head with qualifiers: "Cardiomegaly/mild".
    heads = [(term.text or "").split("/")[0].strip() for term in tree.iter("major")]
    labels = {head: PRESENT for head in heads if head and head.lower() not in _NO_TERM}
    return {"No Finding": PRESENT} if [head.lower() for head in heads] == ["normal"] else labels


def _read_r2gen(root: Path, file: Path) -> Iterator[Study]:
    try:
        cases = _r2gen_cases(file)
    except (ValueError, KeyError, TypeError, RecursionError):
        problem = "not R2Gen's form: {train, val, test} of {id, report, image_path}"
        raise PlaceError(problem, code="PL-D202", file=file, fix="copy it again") from None

    for split, case, report, paths in cases:
        for path in paths:
            image = root / "images" / check_relative_path(file, 1, path)
            yield Study(
                id=case,
                image=image,
                report=f"FINDINGS: {report}" if report.strip() else "",
                split=split,
            )


def _r2gen_cases(file: Path) -> list[tuple[str, str, str, list[str]]]:
    """(split, id, report, image paths) of all cases."""
    content = json.loads(file.read_text("utf-8"))

    cases = []
    for split in _R2GEN_SPLITS:
        for case in content[split]:
            texts, paths = (case["id"], case["report"]), list(case["image_path"])
            if not all(isinstance(text, str) for text in (*texts, *paths)):
                raise TypeError
            cases.append((split, *texts, paths))

    return cases
