"""Recipes: functions that return a `Recipe`; adding one is one function and one line here."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches

from fo1.errors import InputError
from fo1.training.recipe import Recipe
from fo1.training.recipes.large import lora_1gpu, qwen2_5_vl_3b_8gpu
from fo1.training.recipes.nano import nano
from fo1.training.recipes.stage1 import stage1

RECIPES: Mapping[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe for recipe in (nano, stage1, lora_1gpu, qwen2_5_vl_3b_8gpu)
}


def get_recipe(name: str) -> Recipe:
    """Return the recipe of a name.

    Raises:
        InputError: there is none.
    """
    if name not in RECIPES:
        near = get_close_matches(name, RECIPES, 1)
        cure = f"did you mean {near[0]}?" if near else f"give one of: {', '.join(RECIPES)}"
        raise InputError(f"unknown recipe '{name}'; {cure}")
    return RECIPES[name]()
