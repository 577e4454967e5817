"""Transfer syntaxes: how a DICOM file writes its elements and compresses its pixels."""

from __future__ import annotations

from dataclasses import dataclass

from place_cxr.core.errors import PlaceError


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """A transfer syntax: its name in the standard, how elements are written, and the codec.

    ``codec`` is a name that ``codecs.py`` knows, "" for pixels that are not compressed.
    """

    name: str
    codec: str = ""
    implicit: bool = False
    little: bool = True
    deflated: bool = False


# UIDs: DICOM PS3.6, table A-1.
_ROOT = "1.2.840.10008.1.2"
TRANSFER_SYNTAXES = {
    _ROOT: TransferSyntax("Implicit VR Little Endian", implicit=True),
    f"{_ROOT}.1": TransferSyntax("Explicit VR Little Endian"),
    f"{_ROOT}.1.99": TransferSyntax("Deflated Explicit VR Little Endian", deflated=True),
    f"{_ROOT}.2": TransferSyntax("Explicit VR Big Endian", little=False),
    f"{_ROOT}.4.50": TransferSyntax("JPEG Baseline", "jpeg"),
    f"{_ROOT}.4.51": TransferSyntax("JPEG Extended", "jpeg"),
    f"{_ROOT}.4.57": TransferSyntax("JPEG Lossless", "jpeg-lossless"),
    f"{_ROOT}.4.70": TransferSyntax("JPEG Lossless SV1", "jpeg-lossless"),
    f"{_ROOT}.4.80": TransferSyntax("JPEG-LS Lossless", "jpeg-ls"),
    f"{_ROOT}.4.81": TransferSyntax("JPEG-LS Near Lossless", "jpeg-ls"),
    f"{_ROOT}.4.90": TransferSyntax("JPEG 2000 Lossless", "jpeg-2000"),
    f"{_ROOT}.4.91": TransferSyntax("JPEG 2000", "jpeg-2000"),
    f"{_ROOT}.4.201": TransferSyntax("HTJ2K Lossless", "jpeg-2000"),
    f"{_ROOT}.4.202": TransferSyntax("HTJ2K Lossless RPCL", "jpeg-2000"),
    f"{_ROOT}.4.203": TransferSyntax("HTJ2K", "jpeg-2000"),
    f"{_ROOT}.5": TransferSyntax("RLE Lossless", "rle"),
}


def find_transfer_syntax(uid: str) -> TransferSyntax:
    """The syntax with this UID. Raises PL-D112 where it is not read, PL-D103 for an empty UID."""
    if not uid:
        raise PlaceError("TransferSyntaxUID is missing", code="PL-D103", fix="export it again")

    if uid not in TRANSFER_SYNTAXES:
        from pydicom.uid import UID

        # A UID that the standard does not list is not repeated: it may be anything.
        name = UID(uid).name if UID(uid).type == "Transfer Syntax" else "a private one"
        accepted = "uncompressed, deflated, RLE, JPEG, JPEG-LS, JPEG 2000 and HTJ2K are"
        problem = f"the transfer syntax ({name}) is not read; {accepted}"
        raise PlaceError(
            problem, code="PL-D112", fix="export it uncompressed (Explicit VR Little Endian)"
        )

    return TRANSFER_SYNTAXES[uid]
