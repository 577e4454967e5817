"""Synthetic DICOM files: any pixels, in any transfer syntax that is read."""

from __future__ import annotations

import io
import warnings
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation

ROOT = "1.2.840.10008.1.2"
IMPLICIT, EXPLICIT, DEFLATED, BIG = ROOT, f"{ROOT}.1", f"{ROOT}.1.99", f"{ROOT}.2"
JPEG, JPEG_12, JPEG_LOSSLESS, JPEG_SV1 = (
    f"{ROOT}.4.50",
    f"{ROOT}.4.51",
    f"{ROOT}.4.57",
    f"{ROOT}.4.70",
)
JPEG_LS, JPEG_2000, HTJ2K, RLE = f"{ROOT}.4.80", f"{ROOT}.4.90", f"{ROOT}.4.201", f"{ROOT}.5"
GRAY_SYNTAXES = (
    IMPLICIT,
    EXPLICIT,
    DEFLATED,
    BIG,
    RLE,
    JPEG_12,
    JPEG_LOSSLESS,
    JPEG_SV1,
    JPEG_LS,
    JPEG_2000,
    HTJ2K,
)  # of 12 bits
H, W = 72, 90


def sample_image(height: int = H, width: int = W) -> NDArray[np.uint16]:
    """12 bits, smooth, not symmetric, from near black to near white."""
    y, x = np.mgrid[0:height, 0:width]
    wave = np.sin(x / 9) * np.cos(y / 7)
    return np.rint(2047.5 + 1400 * wave + 500 * (x / width - y / height)).astype(np.uint16)


def dataset(pixels: NDArray[Any], **elements: Any) -> Dataset:
    """A data set without its pixels; elements that are None are left out."""
    bits = 8 * pixels.dtype.itemsize
    values: dict[str, Any] = {
        "SOPClassUID": DigitalXRayImageStorageForPresentation,
        "Modality": "DX",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1 if pixels.ndim == 2 else 3,
        "PhotometricInterpretation": "MONOCHROME2" if pixels.ndim == 2 else "RGB",
        "PlanarConfiguration": 0 if pixels.ndim == 3 else None,
        "BitsAllocated": bits,
        "BitsStored": 12 if bits == 16 else 8,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        **elements,
    }
    values.setdefault("HighBit", (values["BitsStored"] or 1) - 1)
    header = Dataset()
    with warnings.catch_warnings(action="ignore"):  # some values are wrong on purpose
        for keyword, value in values.items():
            if value is not None:
                setattr(header, keyword, value)
    return header


def encode(pixels: NDArray[Any], syntax: str) -> bytes:
    """The value of PixelData."""
    if syntax in (IMPLICIT, EXPLICIT, DEFLATED, BIG):
        data = (
            pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
            if syntax == BIG
            else pixels.tobytes()
        )
        return data + b"\0" * (len(data) % 2)
    return encapsulate([encode_frame(pixels, syntax)])


def encode_frame(pixels: NDArray[Any], syntax: str) -> bytes:
    """One compressed image, without fragments around it."""
    bits = 12 if pixels.dtype.itemsize == 2 else 8
    if syntax == RLE:
        return encode_rle(pixels)
    if syntax == JPEG_LS:
        return bytes(imagecodecs.jpegls_encode(pixels))
    if syntax == JPEG_2000:
        return bytes(
            imagecodecs.jpeg2k_encode(
                pixels, codecformat="J2K", reversible=True, bitspersample=bits
            )
        )
    if syntax == HTJ2K:
        return bytes(imagecodecs.htj2k_encode(pixels))
    if syntax == JPEG_LOSSLESS:
        return bytes(
            imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=4, bitspersample=bits)
        )
    if syntax == JPEG_SV1:
        return bytes(
            imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1, bitspersample=bits)
        )
    return bytes(imagecodecs.jpeg8_encode(pixels, 98, bitspersample=bits))


def encode_rle(pixels: NDArray[Any]) -> bytes:
    """DICOM's RLE."""
    planes = np.moveaxis(pixels[:, :, None] if pixels.ndim == 2 else pixels, -1, 0)
    high_first = np.ascontiguousarray(planes.astype(planes.dtype.newbyteorder(">")))
    columns = high_first.view("u1").reshape(len(planes), -1, pixels.dtype.itemsize)
    parts = [
        bytes(imagecodecs.packbits_encode(plane[:, byte].tobytes()))
        for plane in columns
        for byte in range(columns.shape[2])
    ]
    parts = [part + b"\0" * (len(part) % 2) for part in parts]
    starts = [64 + sum(map(len, parts[:number])) for number in range(len(parts))]
    header = np.array([len(parts), *starts, *[0] * (15 - len(parts))], "<u4")
    return header.tobytes() + b"".join(parts)


def file_bytes(
    header: Dataset, syntax: str = EXPLICIT, pixels: bytes | None = None, vr: str = ""
) -> bytes:
    """The bytes of a file; ``pixels``: the value of PixelData."""
    if pixels is not None:
        header.add_new(
            "PixelData",
            vr or ("OW" if header.get("BitsAllocated") == 16 and len(UID(syntax)) < 20 else "OB"),
            pixels,
        )
        header["PixelData"].is_undefined_length = syntax not in (IMPLICIT, EXPLICIT, DEFLATED, BIG)
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = UID(syntax)
    header.file_meta.MediaStorageSOPClassUID = header.get("SOPClassUID", "1.2.3")
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = "1.2.3.4"
    buffer = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        pydicom.dcmwrite(buffer, header, enforce_file_format=True)
    return buffer.getvalue()


def dicom(pixels: NDArray[Any], syntax: str = EXPLICIT, **elements: Any) -> bytes:
    """A whole file of this image."""
    return file_bytes(dataset(pixels, **elements), syntax, encode(pixels, syntax))


def lut_item(first: int, entries: NDArray[Any], bits: int) -> Dataset:
    """An item of a ModalityLUTSequence or VOILUTSequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [len(entries) % 2**16, first, bits])
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return item
