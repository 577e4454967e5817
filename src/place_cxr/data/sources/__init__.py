"""Adapters from files on disk to studies: ``SOURCES[name](folder)``."""

from collections.abc import Callable

from place_cxr.data.sources import manifest
from place_cxr.records import Study

SOURCES: dict[str, Callable[..., list[Study]]] = {"manifest": manifest.read}
