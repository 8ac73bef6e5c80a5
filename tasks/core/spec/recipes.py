"""What torchvision's models need besides their names: `recipes.yaml` beside this file."""

import fnmatch
import functools
from typing import Any

import yaml

from tasks.core.paths import RECIPES_FILE

INPUT_FIELDS = ("inputs", "input_names", "static")
"""Fields that describe the inputs: whoever gives inputs of their own wants none of a recipe's."""


def recipe_for(name: str) -> dict[str, Any]:
    """Fields of ExportSpec for a torchvision name; the first recipe that matches it, or none."""
    recipes = (recipe for recipe in read_recipes() if any(fnmatch.fnmatchcase(name, glob) for glob in recipe["models"]))
    return {key: value for key, value in next(recipes, {}).items() if key != "models"}


@functools.cache
def read_recipes() -> tuple[dict[str, Any], ...]:
    """All recipes, in their order."""
    return tuple(yaml.safe_load(RECIPES_FILE.read_text(encoding="utf-8")))
