"""Modules that PyTorch exports: hooks, an own `__call__`, lazy, compiled and parallel ones, instances, no values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import nn

from tasks.core.errors import ModelError
from tasks.core.model.building import build_with_weights
from tasks.core.records.evidence import Evidence
from tasks.core.records.steps import LoadReport, Weights
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tests.core.proof.proving import Exported, exported
from tests.models.python_files import write

X = ("x=float32[batch,6]",)
EXPORTERS = pytest.mark.parametrize(
    "exporter", [pytest.param("dynamo", marks=pytest.mark.slow), pytest.param("torchscript")]
)
Build = Callable[[], nn.Module]


class Two(nn.Module):
    """Returns a dict."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits, and what they are made of."""
        return {"logits": self.b(torch.relu(self.a(x))), "hidden": self.a(x)}


class OwnCall(Two):
    """A class with a `__call__` of its own."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Probabilities in the place of logits, first by another name."""
        output = super().__call__(*args, **kwargs)
        return {"scores": output["logits"].softmax(-1), "hidden": output["hidden"]}


class Mapped(Two):
    """Maps over the batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Hidden values."""
        return torch.vmap(self.a)(x).relu()  # type: ignore[no-any-return]


class Compiled(nn.Module):
    """A layer, to be compiled."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Above one."""
        return torch.relu(self.a(x)) + 1


def hooked() -> nn.Module:
    """Hooks on the root, whose dict one changes, and on its parts."""
    net = Two()
    net.a.register_forward_hook(lambda m, i, o: o * 2)
    net.b.register_forward_pre_hook(lambda m, i: (i[0] + 1,))
    net.register_forward_hook(lambda m, i, o: {**o, "logits": o["logits"].softmax(-1)})
    return net


def hooked_before() -> nn.Module:
    """A hook on the root that changes what forward is given, positions and keywords."""
    net = Two()
    net.register_forward_pre_hook(
        lambda m, args, kwargs: (tuple(3 * a for a in args), {k: 3 * v for k, v in kwargs.items()}), with_kwargs=True
    )
    return net


def replaced() -> nn.Module:
    """A hook on the root that gives a lone tensor in the place of a dict."""
    net = Two()
    net.register_forward_hook(lambda m, i, o: o["hidden"].tanh())
    return net


def lazy() -> nn.Module:
    """Layers without a shape."""
    torch.manual_seed(0)
    return nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(5))


def compiled() -> nn.Module:
    """Compiled as a whole."""
    return torch.compile(Compiled(), backend="eager")  # type: ignore[return-value]


def compiled_inside() -> nn.Module:
    """Compiled and parallel parts."""
    return nn.Sequential(nn.DataParallel(compiled()), nn.Linear(6, 2))


def built(model: Any, weights: Any = "as-built", **fields: Any) -> tuple[nn.Module, LoadReport]:
    """Build as the step does."""
    kind = weights if isinstance(weights, str) else "state_dict"
    spec = resolve(ExportSpec(model=model, weights=weights, name="odd", inputs=X, **fields))
    return build_with_weights(spec, Weights(kind=kind, origin=kind))


def proven(model: nn.Module, folder: Path, exporter: str) -> tuple[Exported, Evidence]:
    """Export and prove."""
    file = exported(model, X, folder, exporter=exporter)
    return file, file.prove()


@EXPORTERS
@pytest.mark.parametrize("build", [hooked, hooked_before, replaced, OwnCall])
def test_what_a_call_of_the_root_gives_is_what_the_file_gives(build: Build, exporter: str, tmp_path: Path) -> None:
    """Hooks and an own `__call__` see what forward returns, each output keeps its name, and all is as before after."""
    model = build()
    file, evidence = proven(model, tmp_path, exporter)
    assert evidence.verdict == "pass", evidence.reasons
    x = torch.randn(3, 6)
    with torch.no_grad():
        expected = model(x)
    expected = expected if isinstance(expected, dict) else {"output": expected}
    session = onnxruntime.InferenceSession(file.graph.path)
    assert [output.name for output in session.get_outputs()] == list(expected)
    for found, tensor in zip(session.run(None, {"x": x.numpy()}), expected.values(), strict=True):
        torch.testing.assert_close(torch.tensor(found), tensor)
    assert "forward" not in vars(model)


def test_a_module_that_maps_over_its_batch_is_proven(tmp_path: Path) -> None:
    """Nothing random is drawn while it runs, which `torch.vmap` refuses."""
    assert proven(Mapped(), tmp_path, "torchscript")[1].verdict == "pass"


def test_a_program_of_torch_export_is_taken_as_it_is() -> None:
    """It has no mode to be put into."""
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(Compiled(), (torch.ones(2, 6),), dynamic_shapes=shapes).module()
    assert built(program)[1].num_parameters == 42


@EXPORTERS
@pytest.mark.parametrize("build", [lazy, compiled, compiled_inside, lambda: nn.DataParallel(Two())])
def test_the_module_that_is_meant_is_proven(build: Build, exporter: str, tmp_path: Path) -> None:
    """Lazy, compiled and parallel modules."""
    model, report = built(build())
    assert report.num_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert proven(model, tmp_path, exporter)[1].verdict == "pass"


def test_a_note_says_what_was_taken_away() -> None:
    """Whoever reads the result knows which module it is about."""
    notes = built(compiled())[1].notes
    assert "the module inside torch.compile was taken" in notes
    notes = built(compiled_inside())[1].notes
    assert "torch.compile was taken away from 0.module" in notes
    assert "the module inside the parallel one was taken at 0" in notes


def test_a_wrapped_module_is_called_as_what_it_wraps() -> None:
    """Nobody looks for a model called OptimizedModule."""
    assert resolve(ExportSpec(model=nn.DataParallel(compiled()))).name == "Compiled"
    assert resolve(ExportSpec(model=torch.jit.script(nn.Linear(2, 2)))).name == "Linear"


def test_weights_of_the_module_itself_fit_a_wrapped_one() -> None:
    """And those that were saved from within the wrappers, too."""
    state = {key: tensor + 1 for key, tensor in Compiled().state_dict().items()}
    for given in (state, {f"_orig_mod.{key}": tensor for key, tensor in state.items()}):
        model, _ = built(compiled(), weights=given)
        assert torch.equal(model.state_dict()["a.weight"], state["a.weight"])


def test_weights_are_loaded_into_lazy_modules_strictly() -> None:
    """Their shapes are those that the inputs need, whatever the weights have."""
    settled = lazy()
    settled(torch.ones(2, 6))
    state = settled.state_dict()
    model, _ = built(lazy(), weights=state)
    assert torch.equal(model[0].weight, state["0.weight"])
    with pytest.raises(Exception, match=r"0\.weight"):
        built(lazy(), weights={**state, "0.weight": torch.ones(4, 7)})


NET = """
    import torch
    from torch import nn

    torch.manual_seed(3)
    net = nn.Linear(6, 2)
    meta = nn.Linear(6, 2, device="meta")
    def scripted(): return torch.jit.script(nn.Linear(6, 2))
"""


@pytest.mark.usefixtures("imports_as_before")
def test_an_instance_may_be_named(tmp_path: Path) -> None:
    """It is taken as it stands in its file, each time, whatever an export did to it."""
    model = f"{write(tmp_path, nets=NET)}/nets.py:net"
    first, report = built(model)
    assert report.num_parameters == 14
    with torch.no_grad():
        first.weight.zero_()
    assert built(model)[0].state_dict()["weight"].any()
    with pytest.raises(ModelError, match="is a module already and takes no arguments; leave out --kwargs"):
        built(model, kwargs={"bias": False})
    with pytest.raises(ModelError, match="is a module already, not built anew; give --weights as-built"):
        built(model, weights="random")


@pytest.mark.usefixtures("imports_as_before")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_random_weights_are_no_script_modules(tmp_path: Path) -> None:
    """They are drawn with hooks, which TorchScript does not call."""
    with pytest.raises(ModelError, match="is a ScriptModule, which takes no random weights"):
        built(f"{write(tmp_path, nets=NET)}/nets.py:scripted", weights="random")


@pytest.mark.usefixtures("imports_as_before")
def test_a_module_without_values_is_one_sentence(tmp_path: Path) -> None:
    """On the meta device tensors have shapes only."""
    with pytest.raises(ModelError, match=r"odd has no values in weight, bias \(meta device\); build it on the CPU"):
        built(f"{write(tmp_path, nets=NET)}/nets.py:meta")
