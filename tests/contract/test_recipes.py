"""Every shipped recipe is valid, and its printed form is the same recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from place_cxr.core import settings
from place_cxr.losses import LOSSES
from place_cxr.pretrain import PretrainConfig, load_recipe, recipe_path

RECIPES = sorted(Path(recipe_path("phantom-tiny")).parent.glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_is_valid_and_carries_its_name(path: Path) -> None:
    config = load_recipe(path.stem)
    assert config.name == path.stem
    assert any(term.weight for term in config.losses.values())
    assert set(config.losses) <= set(LOSSES)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_what_config_show_prints_is_the_same_recipe(path: Path, tmp_path: Path) -> None:
    config = load_recipe(path.stem)
    shown = tmp_path / "shown.yaml"
    shown.write_text(settings.dump_settings(config))
    assert settings.load_settings(PretrainConfig, shown) == config


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_holds_no_path_of_a_machine(path: Path) -> None:
    text = path.read_text("utf-8")
    assert "/home/" not in text
    assert "manifest:" not in text, "the user names the manifest"


@pytest.mark.parametrize("peer", ["phantom-convirt", "phantom-gloria", "phantom-mgca"])
def test_a_peer_differs_in_its_losses_and_what_they_need(peer: str) -> None:
    ours, theirs = (load_recipe(name).model_dump() for name in ("phantom-tiny", peer))
    for changed in ("name", "losses"):
        del ours[changed], theirs[changed]
    for changed in ("correlation", "tokens", "prototypes"):
        del ours["model"][changed], theirs["model"][changed]
    assert ours == theirs
