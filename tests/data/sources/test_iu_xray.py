"""IU X-ray: Open-i's XML with PNGs, hostile XML, R2Gen's annotation file, the sample's untouched
XML.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from place_cxr.core.errors import PlaceError
from place_cxr.data.sources.iu_xray import read
from place_cxr.data.splits.by_patient import check_splits
from place_cxr.text.reports import read_report
from tests.data.sources.trees import picture, write

XML = """<?xml version="1.0" encoding="utf-8"?>
<eCitation>
   <uId id="CXR1"/>
   <MedlineCitation Owner="Indiana University" Status="supplied by publisher">
      <Article><Abstract>
         <AbstractText Label="COMPARISON">None.</AbstractText>
         <AbstractText Label="INDICATION">Positive TB test</AbstractText>
         <AbstractText Label="FINDINGS">The heart &amp; mediastinum are normal. <b>XXXX</b> \
clear.</AbstractText>
         <AbstractText Label="IMPRESSION"/>
      </Abstract></Article>
   </MedlineCitation>
   <MeSH>{terms}</MeSH>
   <parentImage id="CXR1_1_IM-0001-3001"><caption>Xray Chest PA and Lateral</caption></parentImage>
   <parentImage id="CXR1_1_IM-0001-4001"><caption>Xray Chest PA and Lateral</caption></parentImage>
</eCitation>
"""
NORMAL = "<major>normal</major>"
OPACITY = (
    "<major>Opacity/lung/upper "
    "lobe/right</major><major>Opacity/left</major><automatic>mass</automatic>"
)


@pytest.mark.parametrize(("folder", "pictures"), [("ecgen-radiology/", "NLMCXR_png/"), ("", "")])
def test_a_report_with_its_two_pictures(tmp_path: Path, folder: str, pictures: str) -> None:
    write(tmp_path, f"{folder}1.xml", XML.format(terms=OPACITY))
    write(tmp_path, f"{folder}2.xml", XML.format(terms=NORMAL).replace("CXR1_1", "CXR2"))
    there = picture(tmp_path, f"{pictures}CXR1_1_IM-0001-3001.png")
    first, second, third, _ = read(tmp_path)
    assert first.id == second.id == "1" and third.id == "2"
    assert first.image == there
    assert second.image.name == "CXR1_1_IM-0001-4001.png"
    assert first.report == "FINDINGS: The heart & mediastinum are normal. XXXX clear."
    assert (first.labels, third.labels) == ({"Opacity": 1}, {"No Finding": 1})


@pytest.mark.parametrize(
    "text",
    [
        "<a",
        "",
        '<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>',
        '<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>',
        '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>',
        '<?xml version="1.0" encoding="nothing"?><x/>',
        XML.format(terms="").replace("CXR1_1_IM-0001-3001", "../../x"),
        "<x>" + " " * 2_000_001 + "</x>",
    ],
)
def test_hostile_files_are_refused(tmp_path: Path, text: str) -> None:
    write(tmp_path, "1.xml", text)
    with pytest.raises(PlaceError) as refused:
        read(tmp_path)
    assert refused.value.code in ("PL-D233", "PL-D206")


ANNOTATION = {
    part: [
        {
            "id": f"CXR{n}_IM-1",
            "report": "Clear lungs .",
            "image_path": [f"CXR{n}_IM-1/0.png", f"CXR{n}_IM-1/1.png"],
        }
        | {"split": part}
    ]
    for n, part in enumerate(("train", "val", "test"))
}


def test_r2gens_form(tmp_path: Path) -> None:
    write(tmp_path, "annotation.json", json.dumps(ANNOTATION))
    studies = read(tmp_path)
    assert [study.split for study in studies] == ["train"] * 2 + ["val"] * 2 + ["test"] * 2
    assert studies[1].image == tmp_path / "images/CXR0_IM-1/1.png"
    assert studies == read(tmp_path, "r2gen")
    assert read_report(studies[0].report).origin == "findings"
    check_splits(studies)
    with pytest.raises(PlaceError) as refused:
        read(tmp_path, "patient")
    assert refused.value.code == "PL-D205"


@pytest.mark.parametrize(
    "text", ["", "[1]", "{}", '{"train": [], "val": [], "test": [{"id": 1}]}', "[" * 100_000]
)
def test_another_json_is_refused(tmp_path: Path, text: str) -> None:
    write(tmp_path, "annotation.json", text)
    with pytest.raises(PlaceError) as refused:
        read(tmp_path)
    assert refused.value.code == "PL-D202"


def test_r2gens_split_needs_its_file(tmp_path: Path) -> None:
    write(tmp_path, "1.xml", XML.format(terms=NORMAL))
    with pytest.raises(PlaceError, match=r"annotation\.json"):
        read(tmp_path, "r2gen")


def test_real_files(tmp_path: Path, test_data: Path) -> None:
    """The untouched XML says what the sample's table of the same reports says."""
    studies = read(test_data / "reports" / "raw_xml")
    with (test_data / "reports" / "iu_reports.csv").open(encoding="utf-8") as file:
        table = {row["uid"]: row for row in csv.DictReader(file)}
    assert len(list((test_data / "reports" / "raw_xml").glob("*.xml"))) == 65
    seen: dict[str, set[str]] = {}
    for study in studies:
        row = table.get(f"CXR{study.id}")
        if row is None:
            continue
        seen.setdefault(study.id, set()).add(study.image.stem)
        parts = [(name.upper(), " ".join(row[name].split())) for name in ("findings", "impression")]
        told = " ".join(f"{name}: {text}" for name, text in parts if text)
        assert " ".join(study.report.split()) == told
        heads = {term.split("/")[0].strip() for term in row["mesh_major"].split(";")}
        assert set(study.labels) in (heads, {"No Finding"}) or not study.labels
    assert len(seen) > 50
    for uid, names in seen.items():
        assert names == set(table[f"CXR{uid}"]["image_ids"].split(";"))
