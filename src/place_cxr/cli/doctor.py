"""Check this machine: what it has, what is missing, and how to install it."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from place_cxr.core.workers import available_cores

_DISTRIBUTION = "place-cxr"
# Enough for a demo run with its packs and checkpoints.
_DISK_BYTES_NEEDED = 2_000_000_000


@dataclass(frozen=True, slots=True)
class MachineCheck:
    """One line of the output; ``missing``: something needed is absent, and ``fix`` adds it."""

    name: str
    state: Literal["ok", "note", "missing"]
    value: str
    fix: str = ""

    def to_dict(self) -> dict[str, str]:
        """Plain text fields."""
        return asdict(self)


def check_machine() -> list[MachineCheck]:
    """Check Python, libraries, processor, memory, GPU and disk. Nothing is written."""
    return [*_machine(), *_libraries(), *_dicom(), *_device(), *_folders()]


def render_checks(checks: Sequence[MachineCheck]) -> str:
    """One line for each check with its fix, then the number of missing things."""
    width = max(len(check.name) for check in checks)
    sign = {"ok": " ok ", "note": "note", "missing": "MISS"}
    lines = [
        f"[{sign[check.state]}] {check.name:<{width}}  {check.value}"
        + (f"  ->  {check.fix}" if check.fix else "")
        for check in checks
    ]

    missing = sum(check.state == "missing" for check in checks)
    return "\n".join(
        [*lines, "", f"{missing} needed things are missing." if missing else "Ready: place demo"]
    )


def _machine() -> Iterator[MachineCheck]:
    version = platform.python_version()
    supported = sys.version_info >= (3, 11)
    yield MachineCheck(
        "python",
        "ok" if supported else "missing",
        f"{version} ({sys.executable})",
        "" if supported else "use 3.11 or newer",
    )

    yield MachineCheck(
        "system", "ok", f"{platform.system()} {platform.release()} {platform.machine()}"
    )
    yield MachineCheck("cores", "ok", str(available_cores()))
    memory = _memory()

    if memory:
        yield MachineCheck(
            "memory",
            "ok" if memory >= 4e9 else "note",
            f"{memory / 1e9:.1f} GB",
            "" if memory >= 4e9 else "4 GB help",
        )

    # Names of the instruction sets in /proc/cpuinfo.
    flags = _processor_flags()
    bf16_flags = {"AMX-BF16": "amx_bf16", "AVX512-BF16": "avx512_bf16"}
    bf16_names = [name for name, flag in bf16_flags.items() if flag in flags]
    yield MachineCheck(
        "bf16 on the processor",
        "ok" if bf16_names else "note",
        ", ".join(bf16_names) or "none: fp32 is used",
    )


def _libraries() -> Iterator[MachineCheck]:
    """Every library that the installed package declares; of an extra only what is absent."""
    try:
        requirements = [Requirement(text) for text in metadata.requires(_DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:
        fix = "pip install -e . in the folder of the source code"
        yield MachineCheck(_DISTRIBUTION, "missing", "not installed", fix)
        return

    absent_by_extra: dict[str, list[str]] = {}
    for requirement in requirements:
        extra = _extra_of(requirement)
        if not extra:
            yield _check_library(requirement)
        elif not _version(requirement.name):
            absent_by_extra.setdefault(extra, []).append(requirement.name)

    for extra, names in absent_by_extra.items():
        fix = f"pip install '{_DISTRIBUTION}[{extra}]'"
        yield MachineCheck(f"extra [{extra}]", "note", f"without {', '.join(names)}", fix)


def _extra_of(requirement: Requirement) -> str:
    """The extra that a requirement belongs to; empty for one that is always needed."""
    # packaging evaluates a marker, but does not say which extra it names.
    extra = re.search(r"extra == ['\"]([^'\"]+)", str(requirement.marker))
    return extra[1] if extra else ""


def _check_library(requirement: Requirement) -> MachineCheck:
    name, allowed = requirement.name, requirement.specifier
    version = _version(name)
    if version and allowed.contains(version, prereleases=True):
        return MachineCheck(name, "ok", version)

    problem = f"{version}, needed is {allowed}" if version else "not installed"
    return MachineCheck(name, "missing", problem, f"pip install '{name}{allowed}'")


def _dicom() -> Iterator[MachineCheck]:
    """The transfer syntaxes of DICOM that can be read on this machine."""
    from place_cxr.images.dicom.codecs import INSTALL_DICOM_EXTRA, is_codec_installed
    from place_cxr.images.dicom.syntaxes import TRANSFER_SYNTAXES

    can_parse = bool(_version("pydicom"))
    read = [
        syntax.name
        for syntax in TRANSFER_SYNTAXES.values()
        if can_parse and is_codec_installed(syntax.codec)
    ]
    absent = [syntax.name for syntax in TRANSFER_SYNTAXES.values() if syntax.name not in read]
    if read:
        yield MachineCheck("DICOM", "ok", ", ".join(read))
    if absent:
        yield MachineCheck("DICOM, not read", "note", ", ".join(absent), INSTALL_DICOM_EXTRA)


def _device() -> Iterator[MachineCheck]:
    if importlib.util.find_spec("torch") is None:
        return
    try:
        import torch
        import torchvision  # noqa: F401  a torchvision built for another torch fails here
    except (ImportError, OSError, RuntimeError) as error:
        yield MachineCheck(
            "torch and torchvision",
            "missing",
            f"do not load together: {type(error).__name__}",
            "pip install --force-reinstall torch torchvision, both from one place",
        )

        return

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(index)
            yield MachineCheck(
                f"GPU {index}",
                "ok",
                f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}",
            )
    else:
        yield MachineCheck("GPU", "note", "none: everything runs on the processor")


def _folders() -> Iterator[MachineCheck]:
    from place_cxr.data.packs.cached import cache_root

    for name, folder in {"disk here": Path.cwd(), "cache": Path(cache_root())}.items():
        # The folder may not exist yet: its nearest parent decides.
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        value = f"{folder}, {free / 1e9:.1f} GB free"

        if not existing.is_dir() or not os.access(existing, os.W_OK):
            fix = (
                "set PLACE_CACHE to a folder you may write to"
                if name == "cache"
                else "change to a folder you may write to"
            )
            yield MachineCheck(name, "missing", f"{folder}: not writable", fix)
        elif free < _DISK_BYTES_NEEDED:
            yield MachineCheck(name, "missing", value, f"free {_DISK_BYTES_NEEDED / 1e9:.0f} GB")
        else:
            yield MachineCheck(name, "ok", value)

    offline = os.environ.get("HF_HUB_OFFLINE", "") == "1"
    yield MachineCheck(
        "network",
        "ok" if offline else "note",
        "not used" if offline else "HF_HUB_OFFLINE=0: recipes may download",
    )


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _memory() -> int:
    """Bytes of main memory; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 0


def _processor_flags() -> set[str]:
    path = Path("/proc/cpuinfo")
    text = path.read_text("utf-8", "replace") if path.is_file() else ""
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return set(line.split())
