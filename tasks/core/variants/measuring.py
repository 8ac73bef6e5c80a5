"""What is measured on a variant beside the loss: it runs as declared, how good its precision is, where it is lost."""

import time
from collections.abc import Sequence
from dataclasses import replace

import onnx

from tasks.core.arrays import EPS32
from tasks.core.errors import ExportError
from tasks.core.records.variants import AsDeclared, NodeLoss, Precision
from tasks.core.variants.conversion import GROSS, repaired
from tasks.core.variants.data import Batch
from tasks.core.variants.ideal import ideal
from tasks.core.variants.making import Recipe, made_quietly, maker_of
from tasks.core.variants.running import Outputs, answers, relative_error

DECLARED_LIMIT = 2.0
"""Changes by optimising or by company, as a multiple of what the variant itself changes: true ones gave up to 1."""
GAIN_LIMIT = 1.05
"""Error over what repairs leave of it."""
GROSS_GAIN_LIMIT = 1.01
"""Likewise, where what is repaired is off by far."""
PRECISION_LIMIT = 3.0
"""Error as a multiple of the ideal simulation's: good conversions gave up to 2."""
NUM_ROWS = 8
"""Of a batch, each run alone."""
RANKING_SECONDS = 30.0
_NUM_FEW = 16
"""Samples on which nodes, weights and activations are looked at one by one."""
_DYNAMIC = "DynamicQuantizeLinear"


def as_declared(file: bytes, batches: Sequence[Batch], *, wanted: Sequence[Outputs]) -> AsDeclared:
    """Run the optimised graph against its own operators, and rows alone against rows in company.

    Args:
        file: the variant.
        batches: few samples.
        wanted: the proven file's outputs for them.
    """
    found, plain = (list(answers(file, batches, level=level)) for level in ("all", "off"))
    cost, model = max(relative_error(plain, wanted), EPS32), onnx.load_from_string(file)
    first = batches[0]
    singles = [first.rows(1, start=i) for i in range(min(NUM_ROWS, first.num_samples))]
    alone = list(answers(file, singles)) if _is_free(model) else []
    together = [[output[i : i + 1] for output in found[0]] for i in range(len(alone))]
    return AsDeclared(
        levels=relative_error(found, plain) / cost,
        company=relative_error(alone, together) / cost if alone else 0.0,
        limit=DECLARED_LIMIT,
        dynamic_scales=any(node.op_type == _DYNAMIC for node in model.graph.node),
    )


def precision_of(
    source: onnx.ModelProto,
    file: bytes,
    recipe: Recipe,
    *,
    batches: list[Batch],
    wanted: Sequence[Outputs],
    error: float,
) -> Precision:
    """Hold a variant's error against that of an ideal simulation of its precision, its parts against their own least.

    Args:
        source: the proven file.
        file: the variant.
        recipe: of the variant.
        batches: of samples that are evaluated.
        wanted: the proven file's outputs for them.
        error: relative error of the variant.
    """
    if (least := recipe.known.get(("ideal", recipe.keep))) is None:
        simulation = ideal(source, recipe.terms, batches, keep=recipe.keep)
        least = relative_error(list(answers(simulation, batches, level="off")), wanted)
        recipe.known["ideal", recipe.keep] = least
    measured = Precision(error=error, ideal=least, limit=PRECISION_LIMIT)
    if recipe.terms.kind not in ("int8", "int8-static"):
        return measured
    few, rows = _rows(source, batches, wanted)
    by_channel = recipe.terms.kind == "int8-static"
    suspects, before, after = repaired(source, file, few, wanted=rows, by_channel=by_channel)
    limit = GROSS_GAIN_LIMIT if suspects and not suspects[0].ratio <= GROSS else GAIN_LIMIT
    known = {"suspects": suspects, "unrepaired": before, "repaired": after, "gain_limit": limit}
    return measured.model_copy(update=known)


def ranked(
    source: onnx.ModelProto,
    recipe: Recipe,
    batches: Sequence[Batch],
    *,
    wanted: Sequence[Outputs],
    seconds: float,
) -> tuple[NodeLoss, ...]:
    """Nodes by what each adds when it alone is in lower precision, worst first; in the file's order, as time allows.

    Args:
        source: the proven file.
        recipe: of the variant.
        batches: few samples, of which the first ones are looked at.
        wanted: the proven file's outputs for them.
        seconds: after which no further node is looked at.
    """
    few, rows = _rows(source, batches, wanted)
    nodes = {node.name: node for node in source.graph.node}
    base = replace(recipe, samples=recipe.samples or list(batches), keep=())
    found, started = list[NodeLoss](), time.perf_counter()
    for name in maker_of(recipe.terms.kind).candidates(source):
        if time.perf_counter() - started > seconds:
            break
        try:
            file = made_quietly(source, replace(base, only=(name,))).SerializeToString()
            error = relative_error(list(answers(file, [few])), [rows])
        except ExportError:
            continue  # alone it can't be converted
        found.append(NodeLoss(node=name, operator=nodes[name].op_type, error=error))
    return tuple(sorted(found, key=lambda loss: -loss.error))


def _rows(source: onnx.ModelProto, batches: Sequence[Batch], wanted: Sequence[Outputs]) -> tuple[Batch, Outputs]:
    """Few samples, and the proven file's outputs for them."""
    number = _NUM_FEW if _is_free(source) else batches[0].num_samples
    return batches[0].rows(number), [output[:number] for output in wanted[0]]


def _is_free(model: onnx.ModelProto) -> bool:
    """May all inputs have one row?"""
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    return all(value.type.tensor_type.shape.dim[0].dim_param for value in inputs if value.type.tensor_type.shape.dim)
