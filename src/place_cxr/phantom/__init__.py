"""Phantoms: synthetic chest radiographs, each with its report, masks, boxes and labels.

All of them follow from one :class:`Scene`, so that every task has exact targets.
"""

from place_cxr.phantom.scene import PHANTOM_FINDINGS, Body, Finding, Scene
from place_cxr.phantom.write import PhantomStudy, make_study, render_scene, write_phantom

__all__ = [
    "PHANTOM_FINDINGS",
    "Body",
    "Finding",
    "PhantomStudy",
    "Scene",
    "make_study",
    "render_scene",
    "write_phantom",
]
