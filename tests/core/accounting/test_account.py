"""Weights are found in the files of both exporters, whatever those made of them, and what was changed is not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from tasks.core.accounting.account import Account, account
from tasks.core.arrays import Array
from tasks.core.forward.fixed_values import FixedValues, run_for_fixed

Args = tuple[torch.Tensor, ...]


class Recurrent(nn.Module):
    """Layers whose gates ONNX has in another order, both directions in one constant."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.gru, self.last = nn.GRU(10, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores at each step."""
        return self.last(self.gru(self.lstm(x)[0])[0])  # type: ignore[no-any-return]


class Attending(nn.Module):
    """One weight for queries, keys and values, which exporters cut in three."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.norm = nn.MultiheadAttention(8, 2, batch_first=True), nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend."""
        return self.norm(self.heads(x, x, x)[0])  # type: ignore[no-any-return]


class Normalising(nn.Module):
    """Normalisations after a transposed convolution, a convolution and a product, the weight of which is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.up, self.norm = nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 6, 2, groups=2), nn.BatchNorm2d(6)
        self.conv, self.plain = nn.Conv2d(6, 8, 3, bias=False), nn.BatchNorm2d(8, affine=False)
        self.last = nn.utils.parametrizations.weight_norm(nn.Linear(8, 5))
        self.scores = nn.BatchNorm1d(5)
        generator = torch.Generator().manual_seed(1)
        norms = [m for m in self.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        for tensor in (t for norm in norms for t in (*norm.parameters(), *norm.buffers()) if t.is_floating_point()):
            tensor.data.uniform_(0.5, 1.5, generator=generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        maps = self.plain(self.conv(self.norm(self.up(self.first(x)))))
        return self.scores(self.last(maps.mean((2, 3))))  # type: ignore[no-any-return]


class Computing(nn.Module):
    """Weights that meet the input only after something was made of them, and a bias of zeros, which is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.positions = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.randn(1, 4, 7, 7))
        self.mix, self.unused = nn.Conv2d(4, 4, 1), nn.Linear(8, 2)
        nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add positions of another size."""
        positions = nn.functional.interpolate(self.positions, size=(8, 8), mode="bilinear")
        self.unused(x)
        return self.mix(x + positions) * self.scale.exp()  # type: ignore[no-any-return]


class Looking(nn.Module):
    """Looks up rows of a table."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.last = nn.Embedding(50, 8), nn.Linear(8, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Scores."""
        return self.last(self.table(ids).mean(1))  # type: ignore[no-any-return]


MAPS: Args = (torch.rand(2, 4, 8, 8),)
CASES: dict[type[nn.Module], Args] = {
    Recurrent: (torch.rand(2, 7, 6),),
    Attending: (torch.rand(2, 7, 8),),
    Normalising: MAPS,
    Computing: MAPS,
    Looking: (torch.randint(0, 50, (2, 5)),),
}


def _model(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval()


def _export(model: nn.Module, args: Args, folder: Path, *, dynamo: bool) -> Path:
    path = folder / "model.onnx"
    options = {"external_data": False, "verbose": False} if dynamo else {"opset_version": 17}
    torch.onnx.export(model, args, str(path), dynamo=dynamo, **options)  # type: ignore[arg-type]
    return path


def _account(path: Path, model: nn.Module, args: Args) -> Account:
    fixed = FixedValues(model)
    run_for_fixed(model, args, {}, fixed=fixed)
    return account(path, model, fixed)


def _kinds(found: Account) -> dict[str, str]:
    return {weight.name: weight.found.kind if weight.found else "missing" for weight in found.weights}


def _changed(path: Path, shape: tuple[int, ...], change: Callable[[Array], None]) -> None:
    """Change the constant of this shape, or of its axes exchanged."""
    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        if tuple(sorted(values.shape)) == tuple(sorted(shape)) and values.dtype == np.float32:
            change(values if values.shape == shape else values.T)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
            break
    else:
        pytest.fail(f"no constant of {shape}")
    onnx.save(proto, path)


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "torchscript"])
@pytest.mark.parametrize("kind", CASES)
def test_every_weight_that_is_used_is_found(kind: type[nn.Module], dynamo: bool, tmp_path: Path) -> None:
    """None is missing, and the file holds nothing that is no weight; a layer that is not used does not count."""
    model = _model(kind)
    found = _account(_export(model, CASES[kind], tmp_path, dynamo=dynamo), model, CASES[kind])
    kinds = _kinds(found)
    assert "missing" not in kinds.values(), kinds
    assert kinds.keys() == {
        name
        for name, _ in (*model.named_parameters(), *model.named_buffers())
        if not name.startswith("unused") and not name.endswith("num_batches_tracked")
    }
    assert not found.unexplained


def test_what_became_of_a_weight(tmp_path: Path) -> None:
    """Equal, cut, folded into the layer before, or computed with."""
    kinds: dict[str, str] = {}
    for kind in (Attending, Normalising, Computing):
        model = _model(kind)
        folder = tmp_path / kind.__name__
        folder.mkdir()
        kinds |= _kinds(_account(_export(model, CASES[kind], folder, dynamo=True), model, CASES[kind]))
    assert kinds["norm.weight"] in ("identical", "folded")
    assert kinds["heads.in_proj_weight"] == "rearranged"
    folded = ("up.weight", "conv.weight", "plain.running_var", "last.parametrizations.weight.original0")
    assert {name: kinds[name] for name in folded} == dict.fromkeys(folded, "folded")
    assert {kinds[name] for name in ("scale", "positions")} == {"folded"}


def test_a_narrowed_weight_is_named_so(tmp_path: Path) -> None:
    """A file that stores float16 holds what rounding makes of the weights."""
    model, args = _model(Looking), CASES[Looking]
    path = _export(model, args, tmp_path, dynamo=False)
    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))
    onnx.save(proto, path)
    assert set(_kinds(_account(path, model, args)).values()) == {"narrowed"}


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "torchscript"])
def test_one_row_of_a_table_is_missing(dynamo: bool, tmp_path: Path) -> None:
    """Its elements are told, and no others."""
    model, args = _model(Looking), CASES[Looking]
    path = _export(model, args, tmp_path, dynamo=dynamo)
    _changed(path, (50, 8), lambda values: values[31].__iadd__(1))
    (missing,) = [weight for weight in _account(path, model, args).weights if weight.missing is not None]
    assert (missing.name, np.argwhere(missing.missing)[:, 0].tolist()) == ("table.weight", [31] * 8)


def test_exchanged_rows_are_no_arrangement(tmp_path: Path) -> None:
    """All values are there, but two rows of the table stand in each other's place."""
    model, args = _model(Looking), CASES[Looking]
    path = _export(model, args, tmp_path, dynamo=True)
    _changed(path, (50, 8), lambda values: values.__setitem__([3, 7], values[[7, 3]]))
    (missing,) = [weight for weight in _account(path, model, args).weights if weight.missing is not None]
    assert np.flatnonzero(missing.missing.any(axis=1)).tolist() == [3, 7]  # type: ignore[union-attr]


def test_a_channel_that_is_folded_wrongly_is_missing(tmp_path: Path) -> None:
    """The variance of one channel was another when the normalisation was folded."""
    model = _model(Normalising)
    other = _model(Normalising)
    other.plain.running_var[5] *= 1.001
    path = _export(other, MAPS, tmp_path, dynamo=True)
    found = {w.name: w.missing for w in _account(path, model, MAPS).weights if w.missing is not None}
    assert found.keys() == {"conv.weight", "plain.running_mean", "plain.running_var"}
    assert np.flatnonzero(found["plain.running_var"]).tolist() == [5]
    assert np.flatnonzero(found["conv.weight"].reshape(8, -1).any(axis=1)).tolist() == [5]


def test_a_constant_that_no_weight_explains_is_named(tmp_path: Path) -> None:
    """Somebody added a table of their own."""
    model, args = _model(Looking), CASES[Looking]
    path = _export(model, args, tmp_path, dynamo=True)
    proto = onnx.load(path)
    proto.graph.initializer.append(numpy_helper.from_array(np.arange(40, dtype=np.float32), "their_own"))
    onnx.save(proto, path)
    assert _account(path, model, args).unexplained == ("their_own",)


class Placed(nn.Module):
    """Adds a grid that is made of nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(20, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        return self.last(x + torch.linspace(0, 1, 20) ** 2)  # type: ignore[no-any-return]


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "torchscript"])
def test_what_a_module_makes_of_nothing_is_explained(dynamo: bool, tmp_path: Path) -> None:
    """A grid of places that an exporter keeps as a constant is no stranger."""
    model, args = _model(Placed), (torch.rand(2, 20),)
    path = _export(model, args, tmp_path, dynamo=dynamo)
    assert _account(path, model, args).unexplained == ()


class Twins(nn.Module):
    """Two layers whose biases are equal."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 6)
        nn.init.constant_(self.first.bias, 0.25)
        nn.init.constant_(self.last.bias, 0.25)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        return self.last(self.first(x).relu())  # type: ignore[no-any-return]


def test_equal_weights_may_share_a_constant_unless_another_is_there(tmp_path: Path) -> None:
    """Exporters keep one of two equal constants; where there are two, both must be right."""
    model, args = _model(Twins), (torch.rand(2, 6),)
    path = _export(model, args, tmp_path, dynamo=False)
    proto = onnx.load(path)
    assert [list(tensor.dims) for tensor in proto.graph.initializer].count([6]) == 1
    assert "missing" not in _kinds(_account(path, model, args)).values()
    changed = np.array([0.25, 0.25, 0.5, 0.25, 0.25, 0.25], dtype=np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(changed, "its_own"))
    next(node for node in reversed(proto.graph.node) if node.op_type == "Gemm").input[2] = "its_own"
    onnx.save(proto, path)
    (missing,) = [weight for weight in _account(path, model, args).weights if weight.missing is not None]
    assert (missing.name, np.flatnonzero(missing.missing).tolist()) == ("last.bias", [2])  # type: ignore[arg-type]


class Centred(nn.Module):
    """A layer, and normalisations whose biases are all zeros, as stock ones are."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.first, self.last = nn.Conv1d(6, 6, 1), nn.BatchNorm1d(6), nn.BatchNorm1d(6)
        for norm in (self.first, self.last):
            norm.running_mean.uniform_(0.1, 1.0)
            norm.running_var.uniform_(0.5, 1.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        return self.last(self.first(self.layer(x)).relu())  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["first.running_mean", "last.running_mean"])
def test_a_zeroed_mean_is_not_taken_for_a_bias_of_zeros(name: str, tmp_path: Path) -> None:
    """The file keeps one of the two equal biases; what has the name of another weight is not the other one."""
    model, args, path = _model(Centred), (torch.rand(3, 6, 5),), tmp_path / "model.onnx"
    torch.onnx.export(model, args, path, dynamo=False, opset_version=17, training=torch.onnx.TrainingMode.PRESERVE)
    proto = onnx.load(path)
    tensor = next(tensor for tensor in proto.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.zeros(6, dtype=np.float32), name))
    onnx.save(proto, path)
    found = _account(path, model, args)
    assert [weight.name for weight in found.weights if weight.found is None] == [name]
    (altered,) = found.altered
    assert (altered.weight, altered.constant, altered.place) == (name, name, name)
    np.testing.assert_array_equal(altered.change, -model.get_buffer(name).numpy())
