"""What is measured on a variant beside the loss: it runs as declared, how good its precision is, where it is lost."""

import time
from collections.abc import Sequence

import onnx

from tasks.core.arrays import EPS32
from tasks.core.errors import ExportError
from tasks.core.records.variants import AsDeclared, NodeLoss, Precision
from tasks.core.variants.data import Batch
from tasks.core.variants.ideal import ideal
from tasks.core.variants.making import Recipe, made_quietly, maker_of
from tasks.core.variants.running import Outputs, answers, relative_error

DECLARED_LIMIT = 2.0
"""Changes by optimising or by company, as a multiple of what the variant itself changes: true ones gave up to 1."""
PRECISION_LIMIT = 3.0
"""Error as a multiple of the ideal simulation's: good conversions gave up to 2."""
NUM_ROWS = 8
"""Of a batch, each run alone."""
RANKING_SECONDS = 30.0
_DYNAMIC = "DynamicQuantizeLinear"


def as_declared(file: bytes, batches: Sequence[Batch], *, wanted: Sequence[Outputs]) -> AsDeclared:
    """Run the optimised graph against its own operators, and rows alone against rows in company.

    Args:
        file: the variant.
        batches: few samples.
        wanted: the proven file's outputs for them.
    """
    found, plain = (list(answers(file, batches, level=level)) for level in ("all", "off"))
    cost = max(relative_error(plain, wanted), EPS32)
    first = batches[0]
    singles = [
        Batch({name: array[i : i + 1] for name, array in first.arrays.items()}, None)
        for i in range(min(NUM_ROWS, first.num_samples))
    ]
    alone = list(answers(file, singles)) if _is_free(file) else []
    together = [[output[i : i + 1] for output in found[0]] for i in range(len(alone))]
    return AsDeclared(
        levels=relative_error(found, plain) / cost,
        company=relative_error(alone, together) / cost if alone else 0.0,
        limit=DECLARED_LIMIT,
        dynamic_scales=any(node.op_type == _DYNAMIC for node in onnx.load_from_string(file).graph.node),
    )


def precision_of(
    source: onnx.ModelProto, recipe: Recipe, batches: list[Batch], *, wanted: Sequence[Outputs], error: float
) -> Precision:
    """Hold a variant's error against that of an ideal simulation of its precision.

    Args:
        source: the proven file.
        recipe: of the variant.
        batches: of samples that are evaluated.
        wanted: the proven file's outputs for them.
        error: relative error of the variant.
    """
    simulation = ideal(source, recipe.terms, batches, keep=recipe.keep)
    found = list(answers(simulation, batches, level="off"))
    return Precision(error=error, ideal=relative_error(found, wanted), limit=PRECISION_LIMIT)


def ranked(
    source: onnx.ModelProto, recipe: Recipe, batches: Sequence[Batch], *, wanted: Sequence[Outputs]
) -> tuple[NodeLoss, ...]:
    """Nodes by what each adds when it alone is in lower precision, worst first; the heaviest ones, as time allows.

    Args:
        source: the proven file.
        recipe: of the variant.
        batches: few samples.
        wanted: the proven file's outputs for them.
    """
    sizes = {tensor.name: len(tensor.raw_data) for tensor in source.graph.initializer}
    nodes = {node.name: node for node in source.graph.node}
    names = [name for name in maker_of(recipe.terms.kind).candidates(source) if name not in recipe.keep]
    names.sort(key=lambda name: -sum(sizes.get(value, 0) for value in nodes[name].input))
    found, started = list[NodeLoss](), time.perf_counter()
    for name in names:
        if time.perf_counter() - started > RANKING_SECONDS:
            break
        alone = Recipe(recipe.terms, recipe.samples or list(batches), only=(name,))
        try:
            file = made_quietly(source, alone).SerializeToString()
            error = relative_error(list(answers(file, batches)), wanted)
        except ExportError:
            continue  # alone it can't be converted
        found.append(NodeLoss(node=name, operator=nodes[name].op_type, error=error))
    return tuple(sorted(found, key=lambda loss: -loss.error))


def _is_free(file: bytes) -> bool:
    """May all inputs have one row?"""
    graph = onnx.load_from_string(file).graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    return all(value.type.tensor_type.shape.dim[0].dim_param for value in inputs if value.type.tensor_type.shape.dim)
