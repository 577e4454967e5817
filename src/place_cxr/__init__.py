"""PLACE: medical visual representations from image-report pairs. Research use only, not a medical device.

``import place_cxr as place`` gives the names below; torch is imported when one of them is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from place_cxr.errors import PlaceError
    from place_cxr.models.place import PlaceModel
    from place_cxr.predict import Heat, Processor, ZeroShot, embed, ground, load, zero_shot
    from place_cxr.records import Box, Study

__version__ = "0.1.0"
__all__ = [
    "Box",
    "Heat",
    "PlaceError",
    "PlaceModel",
    "Processor",
    "Study",
    "ZeroShot",
    "embed",
    "ground",
    "load",
    "zero_shot",
]
_HOMES = {"PlaceError": "errors", "PlaceModel": "models.place", "Box": "records", "Study": "records"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'predict')}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
