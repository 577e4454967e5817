"""A user's own table: rows S1 to S6 and E1 of the fault catalogue."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Box
from place_cxr.data.sources import SOURCES
from place_cxr.data.sources.manifest import read

REAL = os.environ.get("PLACE_TEST_DATA", "")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with files a.png to e.png; the manifest only looks whether they are there."""
    for name in "abcde":
        (tmp_path / f"{name}.png").write_bytes(b"x")
    return tmp_path


def table(root: Path, text: str | bytes, name: str = "manifest.csv") -> Path:
    path = root / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(
    path: Path, columns: Mapping[str, str] | None = None, encoding: str = "utf-8-sig"
) -> str:
    with pytest.raises(PlaceError) as error:
        read(path, columns=columns or {}, encoding=encoding)
    return str(error.value)


FULL = """image,report,study,patient,split,view,sex,age,site,labels.Edema,labels.Mass,said.Edema,\
mask.Mass,boxes,colour
a.png,"Edema, mild.\nNo mass.",0012,p 1 ,train,PA,F,63,north,1,,-1,,,red
b.png,NA,1.5e3,P 1,val,AP,,,,0,-1.0,0.0,c.png,"[{""finding"": ""Mass"", ""x0"": 1, ""y0"": 2, \
""x1"": 3.5, ""y1"": 4}]",
"""


def test_every_column_arrives(root: Path) -> None:
    first, second = read(table(root, FULL))
    assert first.image == (root / "a.png").resolve()
    assert first.report == "Edema, mild.\nNo mass."
    assert (first.id, first.patient) == ("0012", "p 1 ")
    assert (first.split, first.view, first.sex, first.age, first.site) == (
        "train",
        "PA",
        "F",
        63.0,
        "north",
    )
    assert first.labels["Edema"] == 1 and math.isnan(first.labels["Mass"])
    assert first.said == {"Edema": -1.0}
    assert first.masks == {} and first.boxes == ()
    assert second.report == "NA"
    assert second.labels == {"Edema": 0.0, "Mass": -1.0}
    assert second.masks == {"Mass": (root / "c.png").resolve()}
    assert second.boxes == (Box("Mass", 1, 2, 3.5, 4),)
    assert second.age is None


def test_a_folder_is_read_through_its_manifest_and_two_are_ambiguous(root: Path) -> None:
    table(root, FULL)
    assert read(root) == SOURCES["manifest"](root) == read(str(root))  # type: ignore[arg-type]
    table(root, '{"image": "a.png", "report": "x"}', "manifest.jsonl")
    assert "PL-D201" in refusal(root)
    (root / "empty").mkdir()
    assert "PL-D201" in refusal(root / "empty")


def test_the_three_forms_say_the_same(root: Path) -> None:
    csv_text = (
        "image,report,patient,age,labels.Edema,said.Mass,mask.Mass,boxes\n"
        "a.png,Fine.,007,41,1,,b.png,"
        '"[{""finding"":""Mass"",""x0"":1,""y0"":2,""x1"":3,""y1"":4}]"\n'
        "c.png,,,,0,-1,,\n"
    )
    expected = read(table(root, csv_text))
    box = {"finding": "Mass", "x0": 1, "y0": 2, "x1": 3, "y1": 4}
    records = [
        {
            "image": "a.png",
            "report": "Fine.",
            "patient": "007",
            "age": 41,
            "labels": {"Edema": 1},
            "said": {"Mass": None},
        }
        | {"mask.Mass": "b.png", "boxes": [box]},
        {"image": "c.png", "labels": {"Edema": False}, "said": {"Mass": -1}},
    ]
    lines = "\r\n".join(json.dumps(record) for record in records) + "\n\n"
    assert read(table(root, lines, "m.jsonl")) == expected
    columns = {
        "image": ["a.png", "c.png"],
        "report": ["Fine.", None],
        "patient": ["007", None],
        "age": [41.0, None],
        "labels.Edema": [1.0, 0.0],
        "said.Mass": [math.nan, -1.0],
        "mask.Mass": ["b.png", None],
        "boxes": [[box], None],
        "picture bytes": [b"\0", b"\1"],
    }
    pq.write_table(pa.table(columns), root / "m.parquet")
    assert read(root / "m.parquet") == expected


@pytest.mark.fault("S1")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("image,report\n", "no rows"),
        ("image,report,image\na.png,x,b.png\n", "column 'image' is there twice"),
        ("imge,report\na.png,x\n", "no column 'image' (found imge, report). Did you mean 'imge'?"),
        (
            "image,reports\na.png,x\n",
            "no column 'report' (found image, reports). Did you mean 'reports'?",
        ),
        ("image,Report\na.png,x\n", "Did you mean 'Report'?"),
    ],
)
def test_headers(root: Path, text: str, says: str) -> None:
    message = refusal(table(root, text))
    assert says in message
    assert "PL-D201" in message and "manifest.csv" in message


@pytest.mark.fault("S1")
def test_mapped_columns(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = table(root, "file,text,person,patient_id,Edema\na.png,x,p1,q1,1\n")
    names = {"image": "file", "report": "text", "patient": "person", "labels.Edema": "Edema"}
    (study,) = read(path, columns=names)
    assert (study.report, study.patient, study.labels) == ("x", "p1", {"Edema": 1.0})
    assert "patient" not in caplog.text
    message = refusal(path, names | {"view": "pose"})
    assert "no column 'pose'" in message and "PL-D201" in message
    message = refusal(path, {"imge": "file"})
    assert "PL-C001" in message and "Did you mean 'image'?" in message
    read(path, columns={"image": "file", "report": "text"})
    assert "no column 'patient'. Did you mean 'patient_id'?" in caplog.text


def test_a_report_from_its_sections_or_none_where_there_are_labels(root: Path) -> None:
    studies = read(
        table(
            root, "image,findings,impression\na.png,Clear lungs.,Normal.\nb.png,,Normal.\nc.png,,\n"
        )
    )
    assert [study.report for study in studies] == [
        "FINDINGS: Clear lungs.\nIMPRESSION: Normal.",
        "IMPRESSION: Normal.",
        "",
    ]
    assert [study.id for study in studies] == ["1", "2", "3"]
    (study,) = read(table(root, "image,findings,report\na.png,Clear lungs.,The report.\n"))
    assert study.report == "The report."
    (study,) = read(table(root, "image,labels.Edema\na.png,1\n"))
    assert study.report == ""


@pytest.mark.fault("S2")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('image,report\na.png,"two\nlines"\nb.png,x,y\n', "line 4 has 3 fields, the header has 2"),
        ("image,report\na.png,x\nb.png\n", "line 3 has 1 fields"),
        ('image,report\na.png,x\nb.png,"never closed\nc.png,x\n', "line 3: a quote is not closed"),
        ('image,report\na.png,"x"y\n', "line 2: a quote"),
        ('image,report\na.png,"' + "x" * 140_000 + '"\n', "line 2: "),
        ("image;report\na.png;x\n", "semicolons"),
        ("image\treport\na.png\tx\n", "tabs"),
    ],
)
def test_ragged_and_otherwise_separated_tables(root: Path, text: str, says: str) -> None:
    message = refusal(table(root, text))
    assert says in message
    assert "PL-D202" in message


@pytest.mark.fault("S2")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"image": "a.png", "report": "x"}\n{"image": ', "line 2 is not JSON"),
        ('\n["a.png"]\n', "line 2 is not a JSON object"),
        (
            '{"image": "a.png", "image": "b.png", "report": "x"}',
            "line 1 is not JSON, or names a key twice",
        ),
        ("[" * 200_000, "line 1 is not JSON"),
    ],
)
def test_json_lines_that_are_none(root: Path, text: str, says: str) -> None:
    message = refusal(table(root, text, "m.jsonl"))
    assert says in message
    assert "PL-D202" in message


@pytest.mark.fault("S2")
def test_tables_of_other_kinds(root: Path) -> None:
    assert "PL-D202" in refusal(table(root, b"PAR1 is how it starts", "m.parquet"))
    assert "PL-D202" in refusal(table(root, "image\treport\n", "m.tsv"))
    assert "PL-D205" in refusal(root / "missing.csv")
    os.mkfifo(root / "fifo.csv")
    assert "PL-D205" in refusal(root / "fifo.csv")


@pytest.mark.fault("S3")
def test_ids_are_exact_text(root: Path) -> None:
    ids = [
        "00123",
        "1234567890123456789",
        "1.23e18",
        "trail ",
        "Trail",
        "0123",
        "123",
        "NA",
        "null",
        "-0",
    ]
    for number in range(len(ids)):
        (root / f"{number}.png").write_bytes(b"x")
    rows = "".join(f"{number}.png,x,{name},p{name}\n" for number, name in enumerate(ids))
    studies = read(table(root, "image,report,study,patient\n" + rows))
    assert [study.id for study in studies] == ids
    assert [study.patient for study in studies] == [f"p{name}" for name in ids]


@pytest.mark.fault("S3")
def test_ids_that_lost_their_digits_are_refused(root: Path) -> None:
    whole = pa.table(
        {"image": ["a.png"], "report": ["x"], "study": pa.array([1234567890123456789])}
    )
    pq.write_table(whole, root / "m.parquet")
    assert read(root / "m.parquet")[0].id == "1234567890123456789"
    for column in ("study", "patient"):
        pq.write_table(
            pa.table({"image": ["a.png"], "report": ["x"], column: [1.5]}), root / "m.parquet"
        )
        assert "PL-D203" in refusal(root / "m.parquet")
    assert "PL-D203" in refusal(
        table(root, '{"image": "a.png", "report": "x", "patient": 1e18}', "m.jsonl")
    )
    assert "line 3" in refusal(table(root, "image,report,study\na.png,x,1\nb.png,x, \n"))


@pytest.mark.fault("S4")
def test_repeated_rows_are_dropped_and_counted(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("a.png", "b.png", "a.png", "./a.png", "b.png")
    studies = read(
        table(root, "image,report,labels.Mass\n" + "".join(f"{name},x,\n" for name in names))
    )
    assert [(study.id, study.image.name) for study in studies] == [("1", "a.png"), ("2", "b.png")]
    assert "3 rows repeat" in caplog.text
    caplog.clear()
    rows = "".join(f"{name},x,s{name[-5]},\n" for name in names)
    studies = read(table(root, "image,report,study,labels.Mass\n" + rows))
    assert [(study.id, study.image.name) for study in studies] == [("sa", "a.png"), ("sb", "b.png")]
    assert "3 rows repeat" in caplog.text


@pytest.mark.fault("S4")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "image,report,labels.Mass\na.png,x,1\nb.png,x,1\na.png,x,0\n",
            "lines 2 and 4 have the same image",
        ),
        ("image,report\na.png,x\na.png,y\n", "lines 2 and 3 have the same image"),
        ("image,report,study\na.png,x,1\na.png,x,2\n", "lines 2 and 3 have the same image"),
        ("image,report,study\na.png,x,1\nb.png,y,1\n", "lines 2 and 3 have the same study"),
        (
            "image,report,study,labels.Mass\na.png,x,1,1\nb.png,x,1,\n",
            "lines 2 and 3 have the same study",
        ),
        (
            "image,report,study,split\na.png,x,1,train\nb.png,x,1,test\n",
            "lines 2 and 3 have the same study",
        ),
        (
            "image,report,study,patient\na.png,x,1,p\nb.png,x,1,q\n",
            "lines 2 and 3 have the same study",
        ),
    ],
)
def test_rows_that_contradict_each_other(root: Path, text: str, says: str) -> None:
    message = refusal(table(root, text))
    assert says in message
    assert "PL-D204" in message


@pytest.mark.fault("S4")
def test_two_views_of_one_study_stay(root: Path) -> None:
    text = "image,report,study,view,labels.Mass\na.png,x,1,PA,\nb.png,x,1,L,\n"
    assert [(study.id, study.view) for study in read(table(root, text))] == [
        ("1", "PA"),
        ("1", "L"),
    ]


@pytest.mark.fault("S5")
def test_missing_files_are_listed_and_counted(root: Path) -> None:
    os.mkfifo(root / "fifo.png")
    (root / "folder").mkdir()
    (root / "loop.png").symlink_to(root / "loop.png")
    names = [
        "a.png",
        "gone.png",
        "fifo.png",
        "folder",
        "folder/",
        ".",
        "a.png/x",
        "loop.png",
        "x" * 300,
    ]
    names += [f"{number}.png" for number in range(30)]
    message = refusal(table(root, "image,report\n" + "".join(f"{name},x\n" for name in names)))
    assert "PL-D205" in message
    assert "38 paths without a file" in message and "and 18 more" in message
    assert "line 3 (missing); line 4 (not a regular file); line 5 (not a regular file)" in message
    assert "line 22 " in message and "line 23 " not in message
    assert "line 2 " not in message
    assert "(missing)" in refusal(table(root, "image,report,mask.Mass\na.png,x,gone.png\n"))
    assert "PL-D205" in refusal(table(root, "image,report\n,x\n"))


@pytest.mark.fault("S5")
@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_files_without_permission(root: Path) -> None:
    (root / "a.png").chmod(0)
    assert "not readable" in refusal(table(root, "image,report\na.png,x\n"))


@pytest.mark.fault("S6")
def test_paths_stay_in_the_folder(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    for folder in (outside, root, root / "in"):
        folder.mkdir()
        (folder / "a.png").write_bytes(b"x")
    (tmp_path / "root-twin").mkdir()
    (tmp_path / "root-twin" / "a.png").write_bytes(b"x")
    (root / "link.png").symlink_to(outside / "a.png")
    (root / "linked").symlink_to(outside)
    (root / "own.png").symlink_to(root / "a.png")
    bad = [
        "../outside/a.png",
        "in/../../outside/a.png",
        str(outside / "a.png"),
        str(root / "a.png"),
        "link.png",
    ]
    bad += ["linked/a.png", "../root-twin/a.png", "in\\a.png", "a\0.png", "..", "/dev/zero"]
    for name in bad:
        for header, row in (
            ("image,report", f"{name},x"),
            ("image,report,mask.Mass", f"a.png,x,{name}"),
        ):
            message = refusal(table(root, f"{header}\n{row}\n"))
            assert "PL-D206" in message, name
            assert "line 2" in message
    good = read(table(root, "image,report\nown.png,x\nin/a.png,x\n"))
    assert [study.image for study in good] == [
        root.resolve() / "a.png",
        root.resolve() / "in" / "a.png",
    ]
    assert read(table(root, "image,report\nin/../a.png,x\n"))[0].image == root.resolve() / "a.png"
    (tmp_path / "way").symlink_to(root)
    assert read(tmp_path / "way")[0].image == root.resolve() / "a.png"


@pytest.mark.fault("S6")
def test_a_table_may_lie_elsewhere_if_its_folder_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"x")
    path = table(tmp_path / "tables", "image,report,mask.Mass\nin/a.png,x,in/a.png\n")
    assert "PL-D205" in refusal(path)
    [study] = read(path, folder=str(tmp_path))
    assert study.image == study.masks["Mass"] == (tmp_path / "in" / "a.png").resolve()
    for name in ("../a.png", str(tmp_path / "a.png"), "../tables/manifest.csv"):
        with pytest.raises(PlaceError, match="PL-D206"):
            read(
                table(tmp_path / "tables", f"image,report\n{name},x\n"), folder=str(tmp_path / "in")
            )
    with pytest.raises(PlaceError, match="PL-D205"):
        read(
            table(tmp_path / "tables", "image,report\na.png,x\n"), folder=str(tmp_path / "nowhere")
        )


@pytest.mark.fault("E1")
def test_label_values(root: Path) -> None:
    rows = "a.png,x,1\nb.png,x,0\nc.png,x,-1\nd.png,x,\ne.png,x, 1.0 \n"
    values = [
        study.labels["Mass"] for study in read(table(root, "image,report,labels.Mass\n" + rows))
    ]
    assert values[:3] == [1, 0, -1] and math.isnan(values[3]) and values[4] == 1
    for column in ("labels.Mass", "said.Mass"):
        for value, kind in (
            ("yes", "text"),
            ("2", "another number"),
            ("0.5", "another number"),
            ("nan", "text"),
        ):
            message = refusal(table(root, f"image,report,{column}\na.png,x,1\nb.png,x,{value}\n"))
            assert f"line 3: a label is {kind}" in message and "PL-D210" in message


@pytest.mark.fault("E1")
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("split", "training"),
        ("age", "sixty"),
        ("age", "-1"),
        ("age", "999"),
        ("age", "inf"),
        ("boxes", "[1, 2]"),
        ("boxes", "{"),
        ("boxes", "7"),
        ("boxes", '[{"finding": "Mass", "x0": 5, "y0": 2, "x1": 3, "y1": 4}]'),
        ("boxes", '[{"finding": "Mass", "x0": 1, "y0": 2, "x1": NaN, "y1": 4}]'),
        ("boxes", '[{"finding": 3, "x0": 1, "y0": 2, "x1": 3, "y1": 4}]'),
        ("boxes", '[{"finding": "Mass", "x0": 1, "y0": 2, "x1": 3}]'),
    ],
)
def test_other_values(root: Path, column: str, value: str) -> None:
    record = {"image": "a.png", "report": "x", column: value}
    message = refusal(table(root, json.dumps(record), "m.jsonl"))
    assert "line 1: " in message and "PL-D210" in message


@pytest.mark.fault("T4")
def test_encodings(root: Path) -> None:
    text = "image,report\na.png,Épanchement\n"
    expected = "Épanchement"
    assert read(table(root, b"\xef\xbb\xbf" + text.encode()))[0].report == expected
    for encoding in ("latin-1", "utf-16"):
        assert read(table(root, text.encode(encoding)), encoding=encoding)[0].report == expected
    for mark in (b"", b"\xef\xbb\xbf"):
        message = refusal(table(root, mark + text.encode("latin-1")))
        assert f"byte {19 + len(mark)} is not utf-8-sig" in message
        assert "PL-D209" in message and "encoding=latin-1" in message
    assert "PL-C001" in refusal(table(root, text), encoding="latin1000")
    message = refusal(table(root, b'{"image": "a.png", "report": "\xff"}', "m.jsonl"))
    assert "byte 30 " in message


@pytest.mark.fault("P3")
def test_no_content_in_messages(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    canary = "CANARYJANE"
    caplog.set_level(logging.DEBUG)
    head = "image,report,study,patient,split,age,labels.Mass,boxes\n"
    good = ["a.png", canary, canary, canary, "", "", "", ""]
    for place, value in ((4, canary), (5, canary), (6, canary), (7, canary), (2, " ")):
        row = [*good[:place], value, *good[place + 1 :]]
        assert canary not in refusal(table(root, head + ",".join(row) + "\n"))
    for rest in (f"b.png,{canary}\n", f'b.png,"{canary}\n', f"a.png,other,{canary},{canary},,,,\n"):
        assert canary not in refusal(table(root, head + ",".join(good) + "\n" + rest))
    row = ",".join(good) + "\n"
    read(table(root, head + row + row))
    assert "1 rows repeat" in caplog.text and canary not in caplog.text


@given(st.binary(max_size=200), st.sampled_from(["m.csv", "m.jsonl", "m.parquet"]))
def test_only_our_error_leaves_any_bytes(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    root = tmp_path_factory.getbasetemp()
    prefix = {
        "m.csv": b"image,report,boxes,age,labels.A\n",
        "m.jsonl": b'{"image": ',
        "m.parquet": b"PAR1",
    }[name]
    with pytest.raises(PlaceError):
        read(table(root, prefix + data, name))


@pytest.mark.skipif(not REAL, reason="PLACE_TEST_DATA is unset: no sample data on this machine")
def test_the_sample_pairs() -> None:
    studies = read(Path(REAL) / "pairs", columns={"patient": "group"})
    assert len(studies) == 221
    assert (
        len({study.patient for study in studies}) == 101
    )  # joins 107 source ids that are partly one person
    assert (
        len(
            {
                study.patient
                for study in read(Path(REAL) / "pairs", columns={"patient": "patient_id"})
            }
        )
        == 107
    )
    assert len({study.id for study in studies}) == 221
    assert all(study.report and study.image.is_file() for study in studies)
    ages = [study.age for study in studies if study.age is not None]
    assert len(ages) == 204 and min(ages) == 25 and max(ages) == 85
