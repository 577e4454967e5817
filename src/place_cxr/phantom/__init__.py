"""A procedural chest radiograph: image, masks, boxes, labels and report, all from one scene."""

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
