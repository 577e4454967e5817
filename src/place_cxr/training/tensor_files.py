"""Tensors as safetensors files, the only format that is read. The header is checked first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from place_cxr.core.errors import PlaceError

_HEADER_LIMIT, _TENSOR_LIMIT = 100 << 20, 100_000  # of a safetensors header: bytes, entries
# First bytes of formats that people might pass instead, and what to call them.
_FOREIGN = {
    b"PK\x03\x04": "a zip archive, as torch.save writes it: it may hold a pickle, which can run "
    "any program",
    b"\x80": "a pickle, which can run any program when it is read",
    b"(": "a pickle, which can run any program when it is read",
    b"c": "a pickle, which can run any program when it is read",
    b"\x1f\x8b": "a gzip archive",
    b"\x93NUMPY": "a NumPy file",
    b"\x89HDF": "an HDF5 file",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
}


def snapshot(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies in main memory, so that training may go on while they are saved."""
    return {
        name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()
    }


def tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """A safetensors file as bytes; tied weights are written once for each of their names."""
    from safetensors.torch import save

    separate: dict[str, Tensor] = {}
    storages: set[int] = set()

    for name, value in tensors.items():
        flat = value.detach().to("cpu").contiguous()
        storage = flat.untyped_storage()
        # safetensors refuses tensors that share memory or are a part of a larger one.
        if storage.data_ptr() in storages or storage.nbytes() != flat.nbytes:
            flat = flat.clone()
        storages.add(storage.data_ptr())
        separate[name] = flat

    return save(separate)


def refuse_foreign_format(path: Path) -> None:
    """Raise PL-R106 for a file that begins like a pickle, an archive or another known format."""
    with path.open("rb") as file:
        start = file.read(32)

    for magic, kind in _FOREIGN.items():
        # A safetensors file begins with its header's length, 8 bytes that may have any value; then
        # comes the JSON header.
        if start.startswith(magic) and start[8:9] != b"{":
            raise PlaceError(
                f"is {kind}",
                code="PL-R106",
                file=path.name,
                fix="only safetensors are read; convert it",
            )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU.

    Raises PlaceError: PL-R101 no such file, PL-R106 another format, PL-R107 an impossible header.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise PlaceError("there is no such file", code="PL-R101", file=path)
    refuse_foreign_format(path)

    # Checked before the library parses it: a wrong header must not cost memory or time.
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        problem = ""
        if size < 10 or length > min(size - 8, _HEADER_LIMIT):
            problem = f"its header claims {length} bytes, the file has {size}"
        elif file.read(1) != b"{":
            problem = f"not a safetensors file (header begins {_peek(path)!r})"
        else:
            file.seek(8)
            if file.read(length).count(b'"data_offsets"') > _TENSOR_LIMIT:
                problem = f"more than {_TENSOR_LIMIT} tensors"

    try:
        if not problem:
            return load_file(path)
    except (SafetensorError, ValueError, TypeError) as error:
        problem = f"its header does not fit its content ({type(error).__name__})"
    raise PlaceError(
        problem,
        code="PL-R107",
        file=f"{path.parent.name}/{path.name}",
        fix="fetch or save it again",
    )


def _peek(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(12)[8:]
