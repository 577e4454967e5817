"""DICOM files: faults X1 to X4, X6 to X9, P2 and P4 on synthetic files, and the sample files."""

from __future__ import annotations

import csv
import json
import logging
import random
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Study
from place_cxr.data.packs import cached
from place_cxr.images.read import (
    ImageLimits,
    is_constant_image,
    read_dicom_header,
    read_image,
    read_scaled_image,
)
from tests.images import dicoms
from tests.images.dicoms import dataset, dicom, encode, encode_frame, file_bytes, sample_image

SMALL = sample_image()


def write(folder: Path, data: bytes) -> Path:
    path = folder / "a.dcm"
    path.write_bytes(data)
    return path


def refusal(folder: Path, data: bytes, read: Callable[[Path], object] = read_image) -> PlaceError:
    with pytest.raises(PlaceError, match="a.dcm") as error:
        read(write(folder, data))
    return error.value


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """One element in explicit little endian; pydicom would not write these values."""
    long = vr in (b"SQ", b"OB", b"UN")
    length = (
        b"\0\0" + len(value).to_bytes(4, "little") if long else len(value).to_bytes(2, "little")
    )
    return (
        (tag >> 16).to_bytes(2, "little")
        + (tag & 0xFFFF).to_bytes(2, "little")
        + vr
        + length
        + value
    )


def with_body(body: bytes, syntax: str) -> bytes:
    """A file whose data set is ``body``."""
    whole = file_bytes(Dataset(), syntax)
    start = 132 + 12 + int.from_bytes(whole[140:144], "little")
    return whole[:start] + body


@pytest.mark.fault("X1")
@pytest.mark.parametrize("syntax", [dicoms.IMPLICIT, dicoms.EXPLICIT, dicoms.BIG, dicoms.JPEG_LS])
def test_a_plain_data_set_is_read_without_a_preamble(tmp_path: Path, syntax: str) -> None:
    """Without the 128 bytes, without DICM too, and without the file meta elements too."""
    data = dicom(SMALL, syntax)
    want, header = read_image(write(tmp_path, data)), read_dicom_header(write(tmp_path, data))
    for cut in (data[128:], data[132:]):
        assert np.array_equal(read_image(write(tmp_path, cut)), want)
        assert read_dicom_header(write(tmp_path, cut)) == header

    bare = data[132 + 12 + data[140] :]
    if syntax == dicoms.JPEG_LS:
        assert refusal(tmp_path, bare).code == "PL-D112"
    elif syntax == dicoms.BIG:  # not plain: its first bytes may be anything
        assert refusal(tmp_path, bare).code == "PL-D101"
    else:
        assert np.array_equal(read_image(write(tmp_path, bare)), want)


@pytest.mark.fault("X1")
def test_bytes_that_only_start_like_a_data_set_are_no_dicom(tmp_path: Path) -> None:
    data = dicom(SMALL)
    bare = data[132 + 12 + data[140] :]
    for cut in (bare[:40], bare[:8] + bytes(500), b"\x02\0" + bytes(500), b"DICM" + bytes(500)):
        for read in (read_image, lambda path: read_scaled_image(path, 32)):
            assert refusal(tmp_path, cut, read).code == "PL-D101"
        assert read_dicom_header(write(tmp_path, cut)) is None

    for odd in (
        bytes(128) + b"DICM",
        bytes(128) + b"DICM" + bytes(50),
        bytes(128) + b"DICMjust some text",
    ):
        assert refusal(tmp_path, odd).code in ("PL-D102", "PL-D103")


@pytest.mark.fault("X1")
def test_content_decides_whatever_the_preamble_says(tmp_path: Path) -> None:
    data = dicom(SMALL)
    assert np.array_equal(
        read_image(write(tmp_path, b"II*\0" + data[4:])), read_image(write(tmp_path, data))
    )


@pytest.mark.fault("X2")
def test_no_image(tmp_path: Path) -> None:
    report = file_bytes(dataset(SMALL, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Modality="SR"))
    assert "no pixel data (Basic Text SR Storage)" in str(refusal(tmp_path, report))
    floats = dataset(SMALL, BitsAllocated=32)
    floats.add_new("FloatPixelData", "OF", SMALL.astype("<f4").tobytes())
    for data in (report, file_bytes(dataset(SMALL)), file_bytes(floats)):
        assert refusal(tmp_path, data).code == "PL-D110"
    for keyword in ("Rows", "Columns", "BitsAllocated"):
        error = refusal(tmp_path, dicom(SMALL, **{keyword: None}, HighBit=11))
        assert (error.code, error.problem) == ("PL-D103", f"{keyword} is missing")


@pytest.mark.fault("X2")
def test_a_data_set_that_ends_before_its_end(tmp_path: Path) -> None:
    data = dicom(SMALL)
    start = data.index(b"\x28\0\x02\0US")
    stray = b"\xfe\xff\x0d\xe0" + bytes(4)
    assert refusal(tmp_path, data[:start] + stray + data[start:]).code == "PL-D103"


@pytest.mark.fault("X1", "I1")
@pytest.mark.parametrize("data", [b"\x08\0", b"\x02\0\x01", b"\0" * 131, b"\0" * 128 + b"DICM"])
def test_very_short_files(tmp_path: Path, data: bytes) -> None:
    assert refusal(tmp_path, data).code in ("PL-D101", "PL-D103")


@pytest.mark.fault("X2")
@pytest.mark.parametrize("bits", [1, 12, 32, 64])
def test_other_depths_are_refused(tmp_path: Path, bits: int) -> None:
    data = file_bytes(dataset(SMALL, BitsAllocated=bits), dicoms.EXPLICIT, bytes(SMALL.size * 8))
    assert refusal(tmp_path, data).code == "PL-D107"


@pytest.mark.fault("X3")
def test_frames_modalities_and_views(tmp_path: Path) -> None:
    several = refusal(tmp_path, dicom(SMALL, NumberOfFrames=3))
    assert (several.code, several.problem) == ("PL-D109", "3 frames, expected 1")
    read_image(write(tmp_path, dicom(SMALL, NumberOfFrames=1)))
    for modality in ("CT", "MR", "MG", "US"):
        error = refusal(tmp_path, dicom(SMALL, Modality=modality))
        assert error.code == "PL-D111" and modality in error.problem and "CR, DX" in error.problem
    for modality in ("CR", "DX", "", None):
        read_image(write(tmp_path, dicom(SMALL, Modality=modality)))
    summary = read_dicom_header(write(tmp_path, dicom(SMALL, ViewPosition="LL")))
    assert summary and summary.view == "LL"


@pytest.mark.fault("X3")
def test_color_models_without_a_gray_image(tmp_path: Path) -> None:
    color = np.zeros((64, 64, 3), np.uint8)
    for pixels, photometric in (
        (color, "HSV"),
        (color, "MONOCHROME2"),
        (SMALL, "RGB"),
        (SMALL, None),
        (SMALL, "X"),
    ):
        assert (
            refusal(tmp_path, dicom(pixels, PhotometricInterpretation=photometric)).code
            == "PL-D107"
        )


@pytest.mark.fault("X4")
def test_a_missing_library_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syntaxes = (
        dicoms.RLE,
        dicoms.JPEG_LS,
        dicoms.JPEG_2000,
        dicoms.HTJ2K,
        dicoms.JPEG_SV1,
        dicoms.JPEG_12,
    )
    files = [dicom(SMALL, syntax) for syntax in syntaxes]
    baseline = dicom(np.zeros((64, 64), np.uint8), dicoms.JPEG)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    for data in files:
        error = refusal(tmp_path, data)
        assert (error.code, error.exit_code) == ("PL-E030", 3)
        assert error.fix == "pip install 'place-cxr[dicom]'"
        assert error.problem.split()[0] in ("RLE", "JPEG-LS", "JPEG", "HTJ2K")
    read_image(write(tmp_path, dicom(SMALL, dicoms.DEFLATED)))
    read_image(write(tmp_path, baseline))
    plain = dicom(SMALL)
    for name in ("pydicom", "pydicom.filereader"):
        monkeypatch.setitem(sys.modules, name, None)
    assert refusal(tmp_path, plain).code == "PL-E030"


@pytest.mark.fault("X4")
def test_a_pack_stops_for_a_missing_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not the files that are wrong: none of them is put aside."""
    studies = [Study(id="a", image=str(write(tmp_path, dicom(SMALL, dicoms.JPEG_LS))), report="")]
    assert cached.pack_pixels(studies, 32, tmp_path / "there").rejected == 0
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(PlaceError) as error:
        cached.pack_pixels(studies, 32, tmp_path / "absent")
    assert error.value.code == "PL-E030"


@pytest.mark.fault("X4")
def test_other_transfer_syntaxes_are_named(tmp_path: Path) -> None:
    video = file_bytes(dataset(SMALL), "1.2.840.10008.1.2.4.100", encode(SMALL, dicoms.JPEG_LS))
    error = refusal(tmp_path, video)
    assert error.code == "PL-D112" and "MPEG2" in error.problem and "JPEG 2000" in error.problem
    error = refusal(
        tmp_path, dicom(SMALL).replace(b"1.2.840.10008.1.2.1\0", b"1.2.826.0.1.3680043\0", 1)
    )
    assert (
        error.code == "PL-D112" and "a private one" in error.problem and "3680043" not in str(error)
    )
    assert (
        refusal(tmp_path, dicom(SMALL).replace(b"\x02\0\x10\0UI", b"\x02\0\x11\0UI", 1)).code
        == "PL-D103"
    )


@pytest.mark.fault("X6")
def test_sizes_are_refused_by_arithmetic(tmp_path: Path) -> None:
    for elements, code in (
        ({"Rows": 65535, "Columns": 65535}, "PL-D104"),
        ({"Rows": 8000, "Columns": 8000}, "PL-D102"),
        ({"NumberOfFrames": 2**31 - 1}, "PL-D109"),
        ({"Rows": 0}, "PL-D105"),
        ({"Columns": 4}, "PL-D105"),
        ({"BitsStored": 17, "HighBit": 16}, "PL-D103"),
        ({"BitsStored": 12, "HighBit": 3}, "PL-D103"),
        ({"BitsStored": 0, "HighBit": 0}, "PL-D103"),
    ):
        data = file_bytes(dataset(SMALL, **elements), dicoms.EXPLICIT, bytes(512))
        started = time.process_time()
        assert refusal(tmp_path, data).code == code, elements
        assert time.process_time() - started < 0.1
    path = write(tmp_path, dicom(SMALL))
    for limits in (ImageLimits(pixels=SMALL.size - 1), ImageLimits(side=max(SMALL.shape) - 1)):
        with pytest.raises(PlaceError, match="PL-D104"):
            read_image(path, limits=limits)


@pytest.mark.fault("X6")
@pytest.mark.parametrize(
    "syntax", [dicoms.JPEG, dicoms.JPEG_LS, dicoms.JPEG_2000, dicoms.JPEG_SV1, dicoms.RLE]
)
def test_a_codestream_of_another_size_is_refused(tmp_path: Path, syntax: str) -> None:
    pixels = SMALL if syntax != dicoms.JPEG else (SMALL >> 4).astype(np.uint8)
    inside = encode(pixels[:64], syntax)
    assert refusal(tmp_path, file_bytes(dataset(pixels), syntax, inside)).code == "PL-D103"


@pytest.mark.fault("X6")
@pytest.mark.parametrize("syntax", dicoms.GRAY_SYNTAXES)
def test_a_cut_file_is_an_error(tmp_path: Path, syntax: str) -> None:
    data = dicom(SMALL, syntax)
    for keep in (140, 300, len(data) // 2, len(data) - 30):
        assert refusal(tmp_path, data[:keep]).code in ("PL-D102", "PL-D103", "PL-D110"), keep


@pytest.mark.fault("X6")
@pytest.mark.parametrize(
    "syntax", [dicoms.JPEG, dicoms.JPEG_12, dicoms.JPEG_SV1, dicoms.JPEG_LS, dicoms.JPEG_2000]
)
def test_a_cut_codestream_in_whole_fragments_is_an_error(tmp_path: Path, syntax: str) -> None:
    """Some decoders would paint what is missing grey."""
    pixels = SMALL if syntax != dicoms.JPEG else (SMALL >> 4).astype(np.uint8)
    whole = encode_frame(pixels, syntax)
    for keep in (len(whole) // 2, len(whole) - 3):
        data = file_bytes(dataset(pixels), syntax, dicoms.encapsulate([whole[:keep]]))
        assert refusal(tmp_path, data).code == "PL-D102", keep


@pytest.mark.fault("X7")
def test_bombs_cost_little(tmp_path: Path) -> None:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    megabyte = squeeze.compress(bytes(2**20)) + squeeze.flush(
        zlib.Z_FULL_FLUSH
    )  # can stand again and again
    zeros = megabyte * 800 + squeeze.flush()
    nested = b"".join(
        element(0x00082218, b"SQ", b"")[:-4] + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4
        for _ in range(3000)
    )
    files = {
        "deflated zeros.dcm": with_body(zeros, dicoms.DEFLATED),
        "zeros.dcm": with_body(bytes(16 * 2**20), dicoms.IMPLICIT),
        "zeros in a sequence.dcm": with_body(
            element(0x00082218, b"SQ", b"")[:-4]
            + b"\xff" * 4
            + b"\xfe\xff\x00\xe0"
            + b"\xff" * 4
            + bytes(16 * 2**20),
            dicoms.EXPLICIT,
        ),
        "nested.dcm": with_body(nested, dicoms.EXPLICIT),
        "large table.dcm": with_body(element(0x00283010, b"SQ", bytes(2**21)), dicoms.EXPLICIT),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    script = (
        "import json,resource,sys,time\n"
        "from place_cxr.images.read import read_image\n"
        "from place_cxr.core.errors import PlaceError\n"
        "import pydicom.filereader\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before, worst, codes = peak(), 0.0, []\n"
        "for path in sys.argv[1:]:\n"
        "    start = time.process_time()\n"
        "    try: read_image(path)\n"
        "    except PlaceError as error: codes.append(error.code)\n"
        "    worst = max(worst, time.process_time() - start)\n"
        "print(json.dumps([codes, worst, (peak() - before) / 1024]))\n"
    )
    assert len(files["deflated zeros.dcm"]) < 2**21
    arguments = [sys.executable, "-c", script, *(str(tmp_path / name) for name in files)]
    codes, seconds, megabytes = json.loads(
        subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    )
    assert codes == ["PL-D104", "PL-D104", "PL-D104", "PL-D103", "PL-D104"]
    assert seconds < 1
    assert megabytes < 200


@pytest.mark.fault("X7")
def test_nested_private_sequences_are_skipped(tmp_path: Path) -> None:
    inner = Dataset()
    inner.add_new(0x00091001, "LO", "CANARY")
    for _ in range(30):
        outer = Dataset()
        outer.add_new(0x00091010, "SQ", [inner, inner] if len(str(inner)) < 2000 else [inner])
        outer[0x00091010].is_undefined_length = True
        inner = outer
    for syntax in (dicoms.IMPLICIT, dicoms.EXPLICIT):
        header = dataset(SMALL)
        header.add_new(0x00090010, "LO", "SOMEBODY")
        header.add_new(0x00091011, "SQ", [inner])
        assert (
            read_image(write(tmp_path, file_bytes(header, syntax, encode(SMALL, syntax)))).shape
            == SMALL.shape
        )


def mutated(data: bytes, picks: random.Random) -> bytes:
    """``data`` with changed bytes, mostly in the header; at times cut, or with a part doubled."""
    changed = bytearray(data)
    for _ in range(picks.choice([1, 3, 10])):
        changed[picks.randrange(132, min(len(changed), picks.choice([400, 900, 10**6])))] = (
            picks.randrange(256)
        )
    if picks.random() < 0.2:
        del changed[picks.randrange(132, len(changed)) :]
    if picks.random() < 0.1:
        start = picks.randrange(132, len(changed))
        changed[start:start] = changed[start : start + picks.randrange(200)]
    return bytes(changed)


@pytest.mark.fault("X8")
def test_only_our_error_leaves_a_mutated_file(tmp_path: Path) -> None:
    picks, refused = random.Random(3), 0
    table = [dicoms.lut_item(0, np.arange(4096, dtype=np.uint16), 12)]
    color = np.zeros((64, 64, 3), np.uint8)
    seeds = [
        dicom(SMALL, syntax, PatientName="A^B", WindowCenter=2048, WindowWidth=4096)
        for syntax in dicoms.GRAY_SYNTAXES
    ]
    seeds += [dicom(SMALL, VOILUTSequence=table, ModalityLUTSequence=table, PixelPaddingValue=0)]
    seeds += [dicom(color), dicom(color, dicoms.JPEG, PhotometricInterpretation="YBR_FULL_422")]
    for number in range(420):
        path = write(tmp_path, mutated(seeds[number % len(seeds)], picks))
        started = time.process_time()
        try:
            result = read_image(path)
            assert result.ndim == 2 and np.isfinite(result).all()
        except PlaceError as error:
            refused += 1
            assert error.code.startswith("PL-D1"), error
        assert time.process_time() - started < 1
    assert refused > 100


@pytest.mark.fault("X9")
def test_files_that_a_directory_names_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "IMAGES").mkdir()
    (tmp_path / "IMAGES" / "SECRET").write_bytes(dicom(SMALL))
    record = Dataset()
    record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", ["IMAGES", "SECRET"]
    header = dataset(SMALL, SOPClassUID="1.2.840.10008.1.3.10", Modality=None)
    header.DirectoryRecordSequence = [record]
    path = tmp_path / "DICOMDIR"
    path.write_bytes(file_bytes(header))
    opened: list[str] = []
    sys.addaudithook(
        lambda event, event_values: opened.append(str(event_values[0])) if event == "open" else None
    )
    with pytest.raises(PlaceError, match="DICOMDIR") as error:
        read_image(path)
    assert error.value.code == "PL-D110"
    assert str(path) in opened
    assert not [name for name in opened if "SECRET" in name]


CANARY = "ZQCANARY"
HELD = (
    "PatientName",
    "PatientID",
    "InstitutionName",
    "StudyDescription",
    "AccessionNumber",
    "ImageComments",
)
LOOKED_AT = (
    "Modality",
    "ViewPosition",
    "ImageType",
    "BurnedInAnnotation",
    "PatientSex",
    "PhotometricInterpretation",
)


def planted() -> list[bytes]:
    """Files with a canary where names are, and where numbers and UIDs should be."""
    files = [
        file_bytes(
            dataset(SMALL, **dict.fromkeys(HELD, CANARY), **{keyword: CANARY}),
            dicoms.EXPLICIT,
            SMALL.tobytes(),
        )
        for keyword in LOOKED_AT
    ]
    odd: dict[int, bytes] = {
        0x00080005: b"CS", 0x00080016: b"UI", 0x00080018: b"UI", 0x00080020: b"DA",
        0x00100010: b"PN", 0x00101010: b"AS", 0x00200013: b"IS", 0x00280008: b"IS",
        0x00281050: b"DS", 0x00281052: b"DS",
    }  # fmt: skip
    plain = file_bytes(dataset(SMALL), dicoms.EXPLICIT, SMALL.tobytes())
    start = plain.index(b"\x08\x00\x16\x00UI")
    files += [
        plain[:start] + element(tag, vr, CANARY.encode()) + plain[start:] for tag, vr in odd.items()
    ]
    files.append(
        file_bytes(
            dataset(SMALL), dicoms.JPEG_LS, dicoms.encapsulate([b"\xff\xd8" + CANARY.encode() * 9])
        )
    )
    files.append(CANARY.encode() * 16 + plain[128:])
    files.append(plain.replace(b"1.2.840.10008.1.2.1\0", (CANARY + "1.2.3.4.5.67").encode(), 1))
    return files + [data[: -len(data) // 3] for data in files]


@pytest.mark.fault("P2")
def test_no_value_leaves_a_header(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("pydicom").setLevel(logging.DEBUG)
    outputs = []
    for data in planted():
        for read in (read_image, read_dicom_header):
            try:
                result = read(write(tmp_path, data))
                outputs.append(str(result) if not isinstance(result, np.ndarray) else "")
            except PlaceError as error:
                outputs.append(f"{error} {error.__cause__}")
    everything = " ".join(
        [*outputs, *capfd.readouterr(), caplog.text, *(str(warning.message) for warning in recwarn)]
    )
    assert CANARY[:6] not in everything
    assert "damaged" in everything and "OTHER" in everything


@pytest.mark.fault("P4")
@pytest.mark.parametrize(
    ("elements", "flagged"),
    [
        ({"BurnedInAnnotation": "YES"}, True),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, True),
        ({"Modality": "US", "BurnedInAnnotation": "NO"}, True),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, True),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "BurnedInAnnotation": "NO"}, False),
        ({"ImageType": ["ORIGINAL", "PRIMARY", ""]}, False),
        ({}, False),
    ],
)
def test_burnt_in_text_is_flagged(tmp_path: Path, elements: dict[str, Any], flagged: bool) -> None:
    summary = read_dicom_header(write(tmp_path, dicom(SMALL, **elements)))
    assert summary and bool(summary.burned_in_reason) == flagged


def test_facts(tmp_path: Path) -> None:
    for age, years in (("045Y", 45), ("018M", 1.5), ("", None), ("ABCD", None)):
        elements = {
            "PatientAge": age,
            "PatientSex": "F",
            "ViewPosition": "PA",
            "ImageType": ["ORIGINAL", "Jane Roe"],
        }
        summary = read_dicom_header(write(tmp_path, dicom(SMALL, dicoms.JPEG_LS, **elements)))
        assert summary and (summary.age, summary.sex, summary.view, summary.modality) == (
            years,
            "F",
            "PA",
            "DX",
        )
        assert summary.image_type == ("ORIGINAL", "OTHER")
        assert (summary.rows, summary.columns, summary.frames, summary.bits) == (
            *SMALL.shape,
            1,
            12,
        )
        assert summary.transfer_syntax == "JPEG-LS Lossless"
        assert summary.sop_class == "Digital X-Ray Image Storage - For Presentation"
    other = tmp_path / "a.png"
    other.write_bytes(b"\x89PNG")
    assert read_dicom_header(other) is None


def test_a_large_image_is_quick(tmp_path: Path) -> None:
    """Promised: well under 100 ms for 2,048 x 2,048 pixels of 12 bits; the rest is for other work
    on the core.
    """
    path = write(
        tmp_path,
        dicom(
            np.tile(sample_image(), (29, 23))[:2048, :2048].copy(),
            WindowCenter=2048,
            WindowWidth=4096,
        ),
    )
    seconds = []
    for _ in range(3):
        started = time.process_time()
        read_image(path)
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.2


def test_the_sample_files(test_data: Path) -> None:
    folder = test_data / "dicom"
    rows = list(csv.DictReader((folder / "manifest.csv").read_text("utf-8").splitlines()))
    assert len(rows) == 13
    shown = {}
    for row in rows:
        path = folder / row["file"]
        shown[path.stem] = read_image(path)
        assert shown[path.stem].shape == (int(row["rows"]), int(row["columns"]))
        assert not is_constant_image(shown[path.stem])
        summary = read_dicom_header(path)
        assert summary and (summary.modality, summary.view) == (row["modality"], row["view"])
        assert (summary.photometric, summary.bits) == (row["photometric"], int(row["bits_stored"]))
    reference = shown["RG1q_explicit_le"]
    same = [name for name in shown if name.startswith("RG1q") and name != "RG1q_signed_rescale"]
    assert len(same) == 8
    for name in same:
        assert np.abs(shown[name] - reference).max() < 1 / 255, name
    # It has no window: the same image, but nothing says what is black and what is white.
    unscaled = shown["RG1q_signed_rescale"].astype(float).ravel()
    slope, offset = np.polyfit(unscaled, reference.ravel(), 1)
    assert slope > 0 and np.abs(slope * unscaled + offset - reference.ravel()).max() < 1 / 255
    assert np.abs(unscaled - reference.ravel()).mean() < 6 / 255
    assert np.abs(shown["RG1_J2KI"] - shown["RG1_JLSN"]).mean() < 1 / 255  # both lossy
    inverted = 1 - shown["siim_6904_tag_set_to_mono1"]
    assert np.abs(inverted - shown["siim_6904_baseline_mono2"]).max() < 1e-6


def test_a_frame_alone_is_no_image_file(tmp_path: Path) -> None:
    """A codestream outside its DICOM file is not guessed at either."""
    assert refusal(tmp_path, encode_frame(SMALL, dicoms.JPEG_2000)).code == "PL-D101"
