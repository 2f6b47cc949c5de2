"""What the recipes have the reader do works, also after restarts and a reboot."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs import RECIPES, Scene, scenes
from tests.netns import Namespace
from tests.recipes.cook import Recipe, machine
from tests.recipes.roots import recipe_root, suite_of
from tests.systemd.conftest import installed as installed

SCENES = {scene.title: (document, scene) for document in RECIPES for scene in scenes(document)}


def test_every_recipe_has_a_client_that_sees_something() -> None:
    for _, scene in SCENES.values():
        assert any(command.by_client for command in scene.commands()), scene.title
        for command in scene.commands():
            assert command.shown or not command.by_client, command.place


def has_vrf() -> bool:
    with Namespace() as namespace:
        tried = "ip", "link", "add", "blue", "type", "vrf", "table", "10"
        return namespace.run(*tried, check=False).returncode == 0


@pytest.mark.parametrize(("document", "scene"), SCENES.values(), ids=SCENES.keys())
def test_recipe(installed: Path, document: Path, scene: Scene) -> None:
    if document.name == "vrf.md" and not has_vrf():
        pytest.skip("this kernel has no VRF; make test-kernels plays what this is about on others")
    lower = recipe_root(suite_of(document))
    with machine(installed, lower) as box:
        recipe = Recipe(box, scene, lower)
        recipe.join()
        recipe.play()
        for unit in recipe.units:
            box.systemctl("restart", unit)
            recipe.ask()
        box.reboot()
        recipe.join()
        recipe.ask()
        recipe.check()
