"""PLACE: medical visual representations from image-report pairs. Research use only, not a medical
device.

``import place_cxr as place`` gives the names below; torch is imported when one of them is first
used.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from place_cxr.core.version import __version__

# Before any library of Hugging Face is imported: no downloads and no telemetry, unless asked.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from place_cxr.core.errors import PlaceError
    from place_cxr.core.records import Box, Study
    from place_cxr.models.place import PlaceModel
    from place_cxr.predict import Heat, Processor, ZeroShot, embed, ground, load, zero_shot

__all__ = [
    "Box",
    "Heat",
    "PlaceError",
    "PlaceModel",
    "Processor",
    "Study",
    "ZeroShot",
    "__version__",
    "embed",
    "ground",
    "load",
    "zero_shot",
]
_HOMES = {
    "Box": "core.records",
    "PlaceError": "core.errors",
    "PlaceModel": "models.place",
    "Study": "core.records",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'predict')}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
