"""The table of coverage counts what was proven, and nothing else."""

from flows.outcomes import flattened
from tasks.core.records.steps import ExportResult
from tests.benchmarks import noise_spread
from tests.benchmarks.coverage import report
from tests.core.reports.report_records import make_graph


def test_totals_are_honest() -> None:
    """What failed, was not run or is static is counted as such, and every reason stands once."""
    static = {"height and width": "its windows have one size"}
    graph = make_graph().model_copy(update={"exporter": "torchscript", "num_nodes": 69})
    results = [
        ExportResult(name="resnet18", verdict="pass", graph=graph, seconds={"export": 1.4}),
        ExportResult(name="vit_b_16", verdict="pass", static=static),
        ExportResult(name="swin_t", verdict="fail", static=static, reason="output is off"),
    ]
    text = report([flattened(result) for result in results], source="r.json")
    assert "**1 of" not in text
    assert "**2 of torchvision's 121 models pass**; 1 of them with nothing static, 1 with something static" in text
    assert "| classification | 80 | 2 | 1 | 77 | 1 |" in text
    assert "| resnet18 | pass | - | - | - | - | torchscript | 69 | 345.7 kB | 1 |" in text
    assert "| vit_b_16 | pass | - | - | - | height and width (a) |" in text
    assert text.count("its windows have one size") == 1
    assert "* swin_t (fail): output is off" in text
    assert "Not run: alexnet, convnext_base" in text


def test_the_spread_of_noise_has_each_model_that_was_compared() -> None:
    """The worst output of each counts; what was not compared has no ratio."""
    outputs = {"a": {"noise_ratio": 0.5, "slice_ratio": 2, "power": {"movement": 1000}}}
    outputs["b"] = {"noise_ratio": 1.5, "slice_ratio": 1, "power": {"movement": 2000}}
    known = {"verdict": "pass", "exporter": "torchscript"}
    results = [{"name": "resnet18", "parity": outputs, **known}, {"name": "swin_t", "parity": {}, **known}]
    text = noise_spread.report(results, source="r.json")
    assert "1 of 1 models of torchvision pass" in text
    assert "| noise ratio | 1.50 | 1.50 | 1.50 | 1.50 | 8 |" in text
    assert "| resnet18 | pass | 1.50 | 2.00 | 1,000 | torchscript |" in text
    assert "swin_t" not in text
