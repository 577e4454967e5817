"""What ``import place_cxr as place`` offers, and that it costs nothing until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import place_cxr as place


def test_every_public_name_is_there() -> None:
    from place_cxr import predict
    from place_cxr.core import records

    assert set(place.__all__) <= set(dir(place))
    assert all(getattr(place, name) is not None for name in place.__all__)
    assert (place.load, place.zero_shot, place.ground, place.embed) == (
        predict.load,
        predict.zero_shot,
        predict.ground,
        predict.embed,
    )
    assert place.Study is records.Study
    with pytest.raises(AttributeError, match="no attribute 'lead'"):
        place.lead  # type: ignore[attr-defined]  # noqa: B018


def test_import_is_light() -> None:
    code = (
        "import sys, place_cxr as place\n"
        "assert place.Study and place.PlaceError\n"
        "heavy = {'torch', 'numpy', 'PIL', 'transformers', 'timm'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
