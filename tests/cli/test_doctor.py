"""The doctor names what is missing and what adds it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from place_cxr.cli import doctor


def _named(name: str) -> doctor.MachineCheck:
    return next(check for check in doctor.check_machine() if check.name == name)


def test_here_nothing_is_missing() -> None:
    """The tests run where the package is installed, so nothing it needs may be reported."""
    checks = [
        check
        for check in doctor.check_machine()
        if not check.name.startswith("disk") and check.name != "cache"
    ]
    assert [check.name for check in checks if check.state == "missing"] == []
    names = {check.name for check in checks}
    assert {"python", "cores", "torch", "transformers", "simplejpeg", "network"} <= names
    assert json.dumps([check.to_dict() for check in checks])


def _declare(monkeypatch: pytest.MonkeyPatch, *requirements: str) -> None:
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: list(requirements))


def test_every_declared_library_is_checked() -> None:
    names = {check.name for check in doctor.check_machine()}
    assert {"typer", "rich", "jinja2", "segmentation-models-pytorch", "faster-coco-eval"} <= names


def test_absent_library_is_named_with_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    _declare(monkeypatch, "no-such-library-place>=1.2")
    check = _named("no-such-library-place")
    assert (check.state, check.fix) == ("missing", "pip install 'no-such-library-place>=1.2'")
    assert "1 needed things are missing" in doctor.render_checks([check])


def test_version_below_the_floor_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    _declare(monkeypatch, "pillow>=999.1")
    check = _named("pillow")
    assert check.state == "missing"
    assert "needed is >=999.1" in check.value


def test_absent_extra_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    _declare(monkeypatch, "no-such-library-place>=1; extra == 'nothing'")
    check = _named("extra [nothing]")
    assert (check.state, check.fix) == ("note", "pip install 'place-cxr[nothing]'")


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(name: str) -> None:
        raise doctor.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", not_installed)
    assert _named("place-cxr").state == "missing"


def test_torch_that_does_not_load_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    check = _named("torch and torchvision")
    assert check.state == "missing"
    assert "one place" in check.fix


def test_cache_that_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("PLACE_CACHE", str(blocked / "cache"))
    assert _named("cache").state == "missing"


def test_transfer_syntaxes_that_cannot_be_read_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "JPEG 2000" in _named("DICOM").value and "RLE Lossless" in _named("DICOM").value
    assert "DICOM, not read" not in {check.name for check in doctor.check_machine()}
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    absent = _named("DICOM, not read")
    assert (absent.state, absent.fix) == ("note", "pip install 'place-cxr[dicom]'")
    assert "JPEG-LS Lossless" in absent.value and "JPEG Baseline" not in absent.value
    assert "JPEG Baseline" in _named("DICOM").value
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: "" if name == "pydicom" else real(name))
    assert _named("extra [dicom]").value == "without pydicom"
    assert "Explicit VR Little Endian" in _named("DICOM, not read").value
