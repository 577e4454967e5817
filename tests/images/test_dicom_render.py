"""One image in every encoding of a DICOM file (fault X5), and the display parameters of a file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from place_cxr.core.errors import PlaceError
from place_cxr.data.packs.cached import pack_pixels
from place_cxr.data.sources import SOURCES
from place_cxr.images.letterbox import Letterbox
from place_cxr.images.read import read_image, read_scaled_image_and_size
from place_cxr.predict import to_gray
from tests.images import dicoms
from tests.images.dicoms import (
    GRAY_SYNTAXES,
    dataset,
    dicom,
    encode,
    encode_frame,
    file_bytes,
    lut_item,
    sample_image,
)

FULL = {"WindowCenter": 2048, "WindowWidth": 4096}  # 0 black, 4095 white
EIGHT = np.rint(sample_image() / 4095 * 255).astype(np.uint8)
COLOR = np.repeat(EIGHT[:, :, None], 3, 2)


def read(folder: Path, data: bytes) -> NDArray[np.float32]:
    path = folder / "a.dcm"
    path.write_bytes(data)
    return read_image(path)


def with_overlay_bits(pixels: NDArray[Any]) -> NDArray[Any]:
    """Something, an overlay say, in the four bits above the stored ones."""
    return pixels | np.random.default_rng(0).integers(0, 16, pixels.shape).astype(np.uint16) << 12


def signed(pixels: NDArray[Any]) -> NDArray[np.int16]:
    return (pixels.astype(int) - 2048).astype(np.int16)


def scrambled() -> dict[str, Any]:
    """Stored values that mean nothing before the file's own table."""
    order = np.random.default_rng(1).permutation(4096).astype(np.uint16)
    return {
        "pixels": np.argsort(order).astype(np.uint16)[sample_image()],
        "ModalityLUTSequence": [lut_item(0, order, 12)],
        **FULL,
    }


def palette(entries: NDArray[Any], bits: int) -> dict[str, Any]:
    tables: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for color in ("Red", "Green", "Blue"):
        tables[f"{color}PaletteColorLookupTableDescriptor"] = [len(entries) % 2**16, 0, bits]
        tables[f"{color}PaletteColorLookupTableData"] = entries.tobytes()
    return tables


def ybr_422(pixels: NDArray[np.uint8]) -> bytes:
    """Two pixels after another, then their one color: grey."""
    pairs = pixels.reshape(len(pixels), -1, 2)
    return np.concatenate([pairs, np.full_like(pairs, 128)], 2).tobytes()


RAMP = np.arange(4096, dtype=np.uint16)
EDGES = np.linspace(0, 65535, 4096).astype(np.uint16)
WAYS: dict[str, Callable[[], bytes]] = {
    **{
        syntax: partial(lambda syntax: dicom(sample_image(), syntax, **FULL), syntax)
        for syntax in GRAY_SYNTAXES
    },
    "no window": lambda: dicom(sample_image()),
    "window without width": lambda: dicom(sample_image(), WindowCenter=40),
    "width 0": lambda: dicom(sample_image(), WindowCenter=40, WindowWidth=0),
    "several windows": lambda: dicom(
        sample_image(), WindowCenter=[2048, 100], WindowWidth=[4096, 50]
    ),
    "LINEAR_EXACT": lambda: dicom(
        sample_image(), WindowCenter=2047.5, WindowWidth=4095, VOILUTFunction="LINEAR_EXACT"
    ),
    "blank function": lambda: dicom(sample_image(), VOILUTFunction="", **FULL),
    "MONOCHROME1": lambda: dicom(
        4095 - sample_image(), PhotometricInterpretation="MONOCHROME1", **FULL
    ),
    "MONOCHROME1, no window": lambda: dicom(
        4095 - sample_image(), PhotometricInterpretation="MONOCHROME1"
    ),
    "MONOCHROME1, half the range": lambda: dicom(
        4095 - sample_image() // 2,
        PhotometricInterpretation="MONOCHROME1",
        WindowCenter=4095 - 1023,
        WindowWidth=2048,
    ),
    "signed": lambda: dicom(signed(sample_image()), WindowCenter=0, WindowWidth=4096),
    "signed, intercept": lambda: dicom(
        signed(sample_image()), RescaleSlope=1, RescaleIntercept=2048
    ),
    "signed, big endian": lambda: dicom(
        signed(sample_image()), dicoms.BIG, RescaleSlope=1, RescaleIntercept=2048
    ),
    "signed, JPEG 2000": lambda: dicom(
        signed(sample_image()), dicoms.JPEG_2000, RescaleIntercept=2048, **FULL
    ),
    "signed, RLE": lambda: dicom(
        signed(sample_image()), dicoms.RLE, RescaleSlope=1, RescaleIntercept=2048, **FULL
    ),
    "slope -1": lambda: dicom(4095 - sample_image(), RescaleSlope=-1, RescaleIntercept=4095),
    "slope -1, window": lambda: dicom(
        4095 - sample_image(), RescaleSlope=-1, RescaleIntercept=4095, **FULL
    ),
    "slope 2": lambda: dicom(
        sample_image(), RescaleSlope=2, RescaleIntercept=-10, WindowCenter=4086, WindowWidth=8192
    ),
    "junk in high bits": lambda: dicom(with_overlay_bits(sample_image()), **FULL),
    "junk, big endian, no window": lambda: dicom(with_overlay_bits(sample_image()), dicoms.BIG),
    "bits at the top": lambda: dicom(sample_image() << 4 | 7, HighBit=15, **FULL),
    "16 bits stored": lambda: dicom(sample_image(), BitsStored=16, **FULL),
    "16 bits stored, 12 used": lambda: dicom(sample_image(), BitsStored=16),
    "10 bits": lambda: dicom(sample_image() >> 2, BitsStored=10),
    "14 bits, window": lambda: dicom(
        sample_image() << 2, BitsStored=14, WindowCenter=8192, WindowWidth=16384
    ),
    "8 bits": lambda: dicom(EIGHT),
    "8 bits, big endian, in words": lambda: file_bytes(
        dataset(EIGHT), dicoms.BIG, EIGHT.reshape(-1, 2)[:, ::-1].tobytes(), "OW"
    ),
    "8 bits, JPEG": lambda: dicom(EIGHT, dicoms.JPEG),
    "8 bits, JPEG extended": lambda: file_bytes(
        dataset(EIGHT), dicoms.JPEG_12, dicoms.encapsulate([encode_frame(EIGHT, dicoms.JPEG)])
    ),
    "8 bits, RLE": lambda: dicom(EIGHT, dicoms.RLE),
    "8 bits in 16": lambda: dicom(EIGHT.astype(np.uint16), BitsStored=8),
    "modality table": lambda: dicom(**scrambled()),
    "VOI table, 8 bits": lambda: dicom(
        sample_image(), VOILUTSequence=[lut_item(0, (RAMP >> 4).astype(np.uint16), 8)]
    ),
    "VOI table, 16 bits": lambda: dicom(
        sample_image(), VOILUTSequence=[lut_item(0, EDGES, 16)], WindowCenter=1, WindowWidth=2
    ),
    "VOI table, later start": lambda: dicom(
        signed(sample_image()), VOILUTSequence=[lut_item(-2048, EDGES, 16)]
    ),
    "VOI table, negative start as unsigned": lambda: dicom(
        signed(sample_image()), VOILUTSequence=[lut_item(2**16 - 2048, EDGES, 16)]
    ),
    "VOI tables, implicit": lambda: dicom(
        sample_image(),
        dicoms.IMPLICIT,
        VOILUTSequence=[lut_item(0, EDGES, 16), lut_item(0, EDGES[::-1], 16)],
    ),
    "VOI table, big endian": lambda: dicom(
        sample_image(), dicoms.BIG, VOILUTSequence=[lut_item(0, EDGES.byteswap(), 16)]
    ),
    "VOI table promises too few bits": lambda: dicom(
        sample_image(), VOILUTSequence=[lut_item(0, RAMP, 8)]
    ),
    "padding": lambda: dicom(sample_image(), PixelPaddingValue=0),
    "palette of 8 bits": lambda: dicom(EIGHT, **palette(np.arange(256, dtype=np.uint8), 8)),
    "palette of 16 bits": lambda: dicom(sample_image(), **palette(EDGES, 16)),
    "RGB": lambda: dicom(COLOR),
    "RGB, planes": lambda: file_bytes(
        dataset(COLOR, PlanarConfiguration=1), dicoms.EXPLICIT, np.moveaxis(COLOR, -1, 0).tobytes()
    ),
    "RGB, RLE": lambda: dicom(COLOR, dicoms.RLE),
    "RGB, JPEG-LS": lambda: dicom(COLOR, dicoms.JPEG_LS),
    "RGB, JPEG": lambda: dicom(COLOR, dicoms.JPEG, PhotometricInterpretation="YBR_FULL_422"),
    "RGB, JPEG lossless": lambda: dicom(COLOR, dicoms.JPEG_SV1),
    "YBR_RCT": lambda: dicom(COLOR, dicoms.JPEG_2000, PhotometricInterpretation="YBR_RCT"),
    "RGB of 16 bits": lambda: dicom(np.repeat(sample_image()[:, :, None], 3, 2)),
    "YBR_FULL": lambda: dicom(
        np.dstack([EIGHT, np.full_like(COLOR[:, :, :2], 128)]), PhotometricInterpretation="YBR_FULL"
    ),
    "YBR_FULL_422": lambda: file_bytes(
        dataset(COLOR, PhotometricInterpretation="YBR_FULL_422"), dicoms.EXPLICIT, ybr_422(EIGHT)
    ),
    "YBR_PARTIAL_422": lambda: file_bytes(
        dataset(COLOR, PhotometricInterpretation="YBR_PARTIAL_422"),
        dicoms.EXPLICIT,
        ybr_422(np.rint(16 + EIGHT / 255 * 219).astype(np.uint8)),
    ),
}


@pytest.mark.fault("X5")
@pytest.mark.parametrize("way", WAYS)
def test_one_image_however_it_is_written(tmp_path: Path, way: str) -> None:
    shown = read(tmp_path, WAYS[way]())
    assert shown.dtype == np.float32
    allowed = {
        "8 bits, JPEG": 3,
        "8 bits, JPEG extended": 3,
        "RGB, JPEG": 3,
        "YBR_PARTIAL_422": 1.2,
    }.get(way, 1)
    assert np.abs(shown * 255 - sample_image() / 4095 * 255).max() <= allowed


@pytest.mark.fault("X5")
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(
    ("center", "width"), [(2048, 4096), (1000, 300), (-50, 1), (3000.5, 20000)]
)
def test_windows_are_those_of_pydicom(
    tmp_path: Path, function: str, center: float, width: float
) -> None:
    options = {
        "WindowCenter": center,
        "WindowWidth": width,
        "VOILUTFunction": function,
        "RescaleSlope": 1.5,
    }
    header = dataset(sample_image(), RescaleIntercept=-300, **options)
    with np.errstate(over="ignore"):
        theirs = apply_voi_lut(apply_modality_lut(sample_image(), header), header)
    low, high = -300, 4095 * 1.5 - 300  # their range of output
    shown = read(tmp_path, dicom(sample_image(), RescaleIntercept=-300, **options))
    assert np.abs(shown - (theirs - low) / (high - low)).max() < 1e-5


@pytest.mark.fault("X5")
def test_tables_are_those_of_pydicom(tmp_path: Path) -> None:
    entries = np.sort(np.random.default_rng(2).integers(0, 4096, 300)).astype(np.uint16)
    header = dataset(sample_image(), VOILUTSequence=[lut_item(500, entries, 12)])
    header.set_original_encoding(False, True)
    theirs = apply_voi_lut(sample_image(), header)
    assert (
        np.abs(
            read(tmp_path, dicom(sample_image(), VOILUTSequence=[lut_item(500, entries, 12)]))
            - theirs / 4095
        ).max()
        < 1e-6
    )


@pytest.mark.fault("X5")
@pytest.mark.parametrize("declared", [8, 14, 16])
@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_white_is_the_largest_entry_where_a_table_declares_other_bits(
    tmp_path: Path, declared: int, kind: str
) -> None:
    """A table of 12 bits that declares 16 was shown 16 times too dark."""
    table = lut_item(0, np.arange(4096), declared)
    options = {"PhotometricInterpretation": kind, "VOILUTSequence": [table]}
    shown = read(tmp_path, dicom(sample_image(), **options))
    want = sample_image() / 4095 if kind == "MONOCHROME2" else 1 - sample_image() / 4095
    assert np.abs(shown - want).max() < 1e-4

    black = lut_item(0, np.zeros(4096), declared)
    assert np.isfinite(read(tmp_path, dicom(sample_image(), VOILUTSequence=[black]))).all()


@pytest.mark.fault("X5")
@pytest.mark.parametrize("table_vr", ["US", "SS"])
@pytest.mark.parametrize("syntax", [dicoms.EXPLICIT, dicoms.IMPLICIT])
@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize(
    ("offset", "intercept", "is_signed"),
    [(0, 0, False), (40_000, 0, False), (60_000, 0, False), (-2000, 0, True), (0, -1024, False)],
)
def test_a_table_starts_at_the_same_value_however_it_is_typed(
    tmp_path: Path,
    table_vr: str,
    syntax: str,
    keyword: str,
    offset: int,
    intercept: int,
    is_signed: bool,
) -> None:
    pixels = (sample_image().astype(int) + offset).astype(np.int16 if is_signed else np.uint16)
    first = (offset + (intercept if keyword == "VOILUTSequence" else 0)) % 2**16
    if table_vr == "SS" and first >= 2**15:
        first -= 2**16

    item = lut_item(0, np.arange(4096), 12)
    item.add_new("LUTDescriptor", table_vr, [4096, first, 12])
    elements = {keyword: [item], "BitsStored": 16, "HighBit": 15}
    if keyword == "VOILUTSequence":
        elements |= {"RescaleIntercept": intercept, "RescaleSlope": 1}
    shown = read(tmp_path, dicom(pixels, syntax, **elements))
    assert np.abs(shown - sample_image() / 4095).max() < 1e-4


@pytest.mark.fault("X5")
def test_color_is_luma(tmp_path: Path) -> None:
    for color, gray in (
        ((255, 0, 0), 76),
        ((0, 255, 0), 150),
        ((0, 0, 255), 29),
        ((255, 255, 255), 255),
    ):
        pixels = np.full((64, 64, 3), color, np.uint8)
        assert np.abs(read(tmp_path, dicom(pixels)) * 255 - gray).max() < 1
        red, green, blue = (np.full(256, level, np.uint8) for level in color)
        tables = palette(red, 8)
        tables |= {"GreenPaletteColorLookupTableData": green.tobytes()}
        tables |= {"BluePaletteColorLookupTableData": blue.tobytes()}
        assert (
            np.abs(read(tmp_path, dicom(pixels[:, :, 0].copy(), **tables)) * 255 - gray).max() < 1
        )


def test_padding_is_black_and_counts_for_nothing(tmp_path: Path) -> None:
    """In MONOCHROME1 too, where a low value would be white; and where the scale comes from the
    image.
    """
    for value, limit in ((0, None), (4095, None), (65500, 65535)):
        pixels = sample_image()
        pixels[:20] = value
        bits = 16 if value > 4095 else 12
        for kind in ("MONOCHROME1", "MONOCHROME2"):
            options = {
                "PhotometricInterpretation": kind,
                "BitsStored": bits,
                "PixelPaddingRangeLimit": limit,
            }
            shown = read(tmp_path, dicom(pixels, PixelPaddingValue=value, **options))
            bright = sample_image() / 4095 if kind == "MONOCHROME2" else 1 - sample_image() / 4095
            assert not shown[:20].any()
            assert np.abs(shown[20:] - bright[20:]).max() < 1 / 255
    below = signed(sample_image())
    below[:20] = -2000
    header = dataset(below, RescaleIntercept=2048, RescaleSlope=1)
    header.add_new("PixelPaddingValue", "US", 63536)  # the same bits
    shown = read(tmp_path, file_bytes(header, dicoms.EXPLICIT, below.tobytes()))
    assert not shown[:20].any()
    assert np.abs(shown[20:] - sample_image()[20:] / 4095).max() < 1 / 255
    alone = np.zeros((64, 64), np.uint16)
    assert not read(tmp_path, dicom(alone, PixelPaddingValue=0)).any()


@pytest.mark.fault("X5")
@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("vr", ["US", "SS"])
@pytest.mark.parametrize(
    ("first", "last"), [(0xFFFF, None), (0xF830, None), (0xF000, 0xFFFF), (0xFFFF, 0xF000)]
)
@pytest.mark.parametrize("form", ["unsigned", "signed", "sign not extended"])
def test_padding_with_bits_that_no_pixel_has_is_black(
    tmp_path: Path, kind: str, vr: str, first: int, last: int | None, form: str
) -> None:
    """Padding of 65535 in an image of 12 bits was shown as 4095, white."""
    picture = sample_image() % 2048  # of 12 bits, not negative where it is signed
    bits = picture.copy()
    bits[:20] = first
    if form == "sign not extended":
        bits[:20] &= 0xFFF
        if first & 0xFFF < 2048:
            bits[:20] |= 0x800
            first, last = int(bits[0, 0]), None

    header = dataset(
        bits if form == "unsigned" else bits.view(np.int16),
        PhotometricInterpretation=kind,
        WindowCenter=1024,
        WindowWidth=2048,
    )
    for keyword, value in (("PixelPaddingValue", first), ("PixelPaddingRangeLimit", last)):
        if value is not None:
            header.add_new(keyword, vr, value - 2**16 * (vr == "SS" and value >= 2**15))

    shown = read(tmp_path, file_bytes(header, dicoms.EXPLICIT, bits.tobytes()))
    want = picture / 2047 if kind == "MONOCHROME2" else 1 - picture / 2047
    assert not shown[:20].any()
    assert np.abs(shown[20:] - want[20:]).max() < 1 / 255


@pytest.mark.fault("X5")
@pytest.mark.parametrize(
    ("centers", "widths"),
    [
        ("\\2048", "\\4096"),
        (" \\2048", " \\4096"),
        ("\\\\2048\\5", "\\\\4096\\7"),
        ("0\\2048", "0\\4096"),
        ("\\2048", "100\\4096"),
        ("100\\2048", "\\4096"),
        ("2048\\", "4096\\"),
        ("2048\\5", "4096"),
    ],
)
@pytest.mark.parametrize("syntax", [dicoms.EXPLICIT, dicoms.IMPLICIT])
def test_the_first_window_with_numbers_is_shown(
    tmp_path: Path, centers: str, widths: str, syntax: str
) -> None:
    pixels = sample_image()
    written = {"WindowCenter": "1111111111111", "WindowWidth": "2222222222222"}
    data = dicom(pixels, syntax, **written)
    for number, text in zip("12", (centers, widths), strict=True):
        # pydicom would not write empty values, so equally many bytes are put in their place.
        data = data.replace(number.encode() * 13, text.ljust(13).encode())
    shown = read(tmp_path, data)
    want = read(tmp_path, dicom(pixels, WindowCenter=2048, WindowWidth=4096))
    assert np.array_equal(shown, want)


@pytest.mark.fault("X5")
def test_empty_windows_and_tables_count_for_nothing(tmp_path: Path) -> None:
    data = dicom(sample_image(), WindowCenter="1111111111111", WindowWidth="2222222222222")
    for text in (b"\\", b" \\ ", b"\\2048"):
        blank = data.replace(b"1" * 13, text.ljust(13)).replace(b"2" * 13, b"\\".ljust(13))
        assert np.array_equal(read(tmp_path, blank), read(tmp_path, dicom(sample_image())))

    tables = [Dataset(), lut_item(0, np.arange(4096)[::-1], 12)]
    shown = read(tmp_path, dicom(sample_image(), VOILUTSequence=tables))
    assert np.abs(shown - (1 - sample_image() / 4095)).max() < 1e-4
    shown = read(tmp_path, dicom(sample_image(), VOILUTSequence=[Dataset()], **FULL))
    assert np.abs(shown - sample_image() / 4095).max() < 1 / 255


def test_without_a_scale_the_darkest_is_black(tmp_path: Path) -> None:
    for pixels, slope in (
        (signed(sample_image()), 1),
        (sample_image(), 0.001),
        (sample_image(), -0.5),
    ):
        shown = read(tmp_path, dicom(pixels, RescaleSlope=slope, RescaleIntercept=0))
        assert (shown.min(), shown.max()) == (0, 1)
        assert abs(np.corrcoef(shown.ravel(), sample_image().ravel())[0, 1] - np.sign(slope)) < 1e-6
    flat = read(tmp_path, dicom(np.full((64, 64), -7, np.int16)))
    assert np.isfinite(flat).all()


def test_windows_clip_and_keep_order(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(4096, dtype=np.uint16), (16, 1))
    shown = read(tmp_path, dicom(ramp, WindowCenter=1000, WindowWidth=500))[0]
    assert (np.diff(shown) >= 0).all()
    assert shown[740] == 0 and shown[1260] == 1


@pytest.mark.fault("X5")
@pytest.mark.parametrize(
    "elements",
    [
        {"RescaleSlope": "1e308", "RescaleIntercept": "1e308"},
        {"WindowCenter": "-1e308", "WindowWidth": "1e-300", "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": "1e308", "WindowWidth": "1e-300", "VOILUTFunction": "LINEAR_EXACT"},
    ],
)
def test_enormous_numbers_do_no_harm(tmp_path: Path, elements: dict[str, str]) -> None:
    try:
        assert np.isfinite(read(tmp_path, dicom(sample_image(), **elements))).all()
    except PlaceError as error:
        assert error.code == "PL-D106"


def test_eight_bits_for_packs(tmp_path: Path) -> None:
    path = tmp_path / "1.2.840.113619.2"  # names of such files end as they like
    path.write_bytes(dicom(sample_image(), **FULL))
    pixels, size = read_scaled_image_and_size(path, 32)
    assert (pixels.dtype, size) == (np.uint8, sample_image().shape)
    assert np.abs(pixels - sample_image() / 4095 * 255).max() <= 1


def test_every_way_in_takes_dicom(tmp_path: Path) -> None:
    """A manifest, a pack and a model's processor, whatever the file is called."""
    path = tmp_path / "a.png"
    path.write_bytes(dicom(sample_image(), dicoms.JPEG_LS, **FULL))
    (tmp_path / "manifest.csv").write_text("image,report\na.png,Clear lungs.\n", "utf-8")
    pack = pack_pixels(SOURCES["manifest"](tmp_path / "manifest.csv"), 64, tmp_path / "cache")
    assert pack.letterboxes[0].tolist() == list(sample_image().shape)
    assert np.array_equal(
        pack.pixels[0],
        Letterbox(*sample_image().shape, 64).to_square(read_scaled_image_and_size(path, 64)[0]),
    )
    assert np.array_equal(to_gray(str(path)), read_image(path))


def test_more_than_one_fragment_and_no_end_mark(tmp_path: Path) -> None:
    whole = encode_frame(sample_image(), dicoms.JPEG_LS)
    whole += b"\0" * (len(whole) % 2)
    item = b"\xfe\xff\x00\xe0"
    pieces = [whole[:100], whole[100:300], whole[300:]]
    fragments = b"".join(item + len(piece).to_bytes(4, "little") + piece for piece in pieces)
    for table in (b"", (0).to_bytes(4, "little")):
        start = item + len(table).to_bytes(4, "little") + table
        data = file_bytes(dataset(sample_image(), **FULL), dicoms.JPEG_LS, start + fragments)
        for content in (data, data[:-8]):
            assert np.abs(read(tmp_path, content) - sample_image() / 4095).max() < 1 / 255


@pytest.mark.fault("X6")
@pytest.mark.parametrize("syntax", dicoms.GRAY_SYNTAXES[4:])
def test_fragments_may_end_with_other_bytes_than_the_delimiter(tmp_path: Path, syntax: str) -> None:
    """Zeros or anything else there lost a whole picture."""
    data = dicom(sample_image(), syntax, **FULL)
    want = read(tmp_path, data)
    body = data[:-8]
    assert data[-8:] == b"\xfe\xff\xdd\xe0\0\0\0\0"
    for end in (
        b"",
        bytes(3),
        bytes(8),
        bytes(1000),
        b"\xff" * 8,
        b"some other text",
        b"\xdd\xe0" * 9,
    ):
        assert np.array_equal(read(tmp_path, body + end), want)

    # A codestream without its end, and a file without any fragment, are errors as before.
    whole = encode_frame(sample_image(), syntax)
    half = whole[: len(whole) // 4 * 2]
    table, item = b"\xfe\xff\x00\xe0\0\0\0\0", b"\xfe\xff\x00\xe0"
    cut = table + item + len(half).to_bytes(4, "little") + half + bytes(64)
    for value in (cut, bytes(64), table + bytes(64)):
        with pytest.raises(PlaceError) as error:
            read(tmp_path, data[: data.index(item)] + value)
        assert error.value.code in ("PL-D102", "PL-D103")


def test_odd_lengths_and_bytes_after_the_pixels(tmp_path: Path) -> None:
    odd = EIGHT[:71, :89].copy()
    for syntax in (dicoms.EXPLICIT, dicoms.RLE, dicoms.DEFLATED):
        assert np.abs(read(tmp_path, dicom(odd, syntax)) * 255 - odd).max() < 1e-3
    value = odd.tobytes() + b"\0"
    in_words = np.frombuffer(value, "<u2").astype(">u2").tobytes()
    assert (
        np.abs(
            read(tmp_path, file_bytes(dataset(odd), dicoms.BIG, in_words, "OW")) * 255 - odd
        ).max()
        < 1e-3
    )
    header = dataset(odd)
    header.add_new(0xFFFCFFFC, "OB", b"\0" * 32)
    assert (
        np.abs(
            read(tmp_path, file_bytes(header, dicoms.EXPLICIT, encode(odd, dicoms.EXPLICIT))) * 255
            - odd
        ).max()
        < 1e-3
    )
