"""Make a variant of a proven file, with the nodes that the budget asks for in float32."""

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.records.steps import Graph
from tasks.step import step

if TYPE_CHECKING:
    import onnx

    from tasks.core.records.variants import Attempted
    from tasks.core.variants.judgement import Judge
    from tasks.core.variants.making import Recipe


@step(seconds=3600, says=lambda made: f"{made[0].num_nodes} nodes, {made[0].size_bytes / 1e6:.3g} MB")
def make_variant(
    source: "onnx.ModelProto", recipe: "Recipe", judge: "Judge | None", *, path: Path, facts: dict[str, str]
) -> "tuple[Graph, Recipe, tuple[Attempted, ...]]":
    """Make and write it; the recipe comes back with the nodes that are kept, and the way to them.

    Args:
        source: the proven file.
        recipe: of the variant.
        judge: measures the loss on the way; None: the kind is lossless.
        path: of the file.
        facts: what its metadata says beside the proven file's.

    Raises:
        ExportError: it can't be made.
        SpecError: samples are missing.
    """
    from tasks.core.variants.making import made_quietly, make_file

    path_to_budget: tuple[Attempted, ...] = ()
    if judge is not None and judge.evaluation is not None and recipe.terms.within_budget:
        recipe, path_to_budget = judge.keep_within_budget(
            recipe, lambda other: made_quietly(source, other).SerializeToString()
        )
    return make_file(source, recipe, path, facts=facts), recipe, path_to_budget
