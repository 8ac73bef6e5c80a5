"""What a spec says is read exactly, and what it can't mean is refused in one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from tasks.core.errors import SpecError
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.input_spec import FLOAT_DTYPES, INTEGER_DTYPES, Dim, InputSpec, derived_dims
from tasks.core.spec.resolve import make_spec

LIMITS = {"int8": (-128, 127), "int16": (-(2**15), 2**15 - 1), "int32": (-(2**31), 2**31 - 1), "uint8": (0, 255),
          "int64": (-(2**53), 2**53), "bool": (0, 1), "float16": (-65504.0, 65504.0)}  # fmt: skip

words = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
sizes = st.integers(1, 10**6)


@st.composite
def dims(draw: st.DrawFn) -> Dim:
    """Fixed and dynamic dimensions, with and without size and bounds."""
    size = draw(st.none() | sizes)
    if draw(st.booleans()):
        return Dim(size=size or 1)
    if draw(st.booleans()):
        formula = f"{draw(st.sampled_from(('2*', '3*n+', '')))}{draw(words)}+{draw(words)}"
        return Dim(name=draw(words | st.just(formula)), formula=formula)
    low = draw(st.integers(1, size or 1000))
    high = draw(st.none() | st.integers(max(low, size or 1), 10**7))
    return Dim(name=draw(words), size=size, low=low, high=high)


@st.composite
def inputs(draw: st.DrawFn) -> InputSpec:
    """Inputs of every dtype, with and without a range."""
    dtype = draw(st.sampled_from([*FLOAT_DTYPES, *INTEGER_DTYPES, "bool"]))
    lowest, highest = LIMITS.get(dtype, (-3e38, 3e38))
    values = st.integers(lowest, highest) if dtype in (*INTEGER_DTYPES, "bool") else st.floats(lowest, highest)
    ends: tuple[Any, Any] = (None, None)
    if dtype in ("int16", "int32", "int64") or draw(st.booleans()):
        ends = tuple(sorted((float(draw(values)), float(draw(values)))))  # type: ignore[assignment]
    name = draw(st.from_regex(r"[A-Za-z_][A-Za-z0-9_.\-/]{0,10}", fullmatch=True))
    shape = tuple(draw(st.lists(dims(), max_size=4)))
    can_pad = dtype not in FLOAT_DTYPES and bool(shape) and ends == (None, None)
    padded = draw(st.sampled_from(["", "right", "left", "either"] if can_pad else [""]))
    return InputSpec(name=name, dtype=dtype, dims=shape, low=ends[0], high=ends[1], padded=padded)


@given(inputs())
def test_an_input_reads_back_as_itself(spec: InputSpec) -> None:
    """The text of an input, with every digit of its range, gives the same input again."""
    assert InputSpec.parse(str(spec)) == spec


@given(dims())
def test_a_dim_reads_back_as_itself(dim: Dim) -> None:
    """The text of a dimension gives the same dimension again."""
    assert Dim.parse(str(dim)) == dim


@given(st.text(alphabet="abc=[]@.,:+*0123456789-float32int64eE ²٣\n", max_size=40))
def test_any_text_is_an_input_or_one_sentence(text: str) -> None:
    """Whatever is written after --input is read, or refused with a SpecError of one line."""
    try:
        InputSpec.parse(f"x=float32{text}")
        InputSpec.parse(text)
    except SpecError as error:
        assert str(error).endswith(".")  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image=float32[batch,3,224,224]", ("image", "float32", ["batch", "3", "224", "224"], None)),
        ("ids=int64[batch,length=13]@0..103", ("ids", "int64", ["batch", "length=13"], (0, 103))),
        ("mask=bool[batch,length]", ("mask", "bool", ["batch", "length"], (0, 1))),
        ("x=uint8[3]", ("x", "uint8", ["3"], (0, 255))),
        ("x=int8[3]", ("x", "int8", ["3"], (-128, 127))),
        ("x=float32[n=5:2..8]@-1..1e-3", ("x", "float32", ["n=5:2..8"], (-1, 0.001))),
        ("x=float32[n:2..]@.5..1.", ("x", "float32", ["n:2.."], (0.5, 1))),
        ("x=float32[]", ("x", "float32", [], None)),
        (" x = float32[ batch, 3 ] ", ("x", "float32", ["batch", "3"], None)),
        ("größe=float32[3]", ("größe", "float32", ["3"], None)),
        ("mask=bool[b, total = past + new]", ("mask", "bool", ["b", "total=past+new"], (0, 1))),
        ("x=float32[2*n,n*m+1,out=3*a*b]", ("x", "float32", ["2*n", "n*m+1", "out=3*a*b"], None)),
    ],
)
def test_the_grammar_of_inputs(text: str, expected: tuple[Any, ...]) -> None:
    """Names, dtypes, fixed and dynamic dims, bounds and ranges are read as the help says."""
    spec = InputSpec.parse(text)
    assert (spec.name, spec.dtype, [str(dim) for dim in spec.dims], spec.value_range) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image", "can't be read; write NAME=DTYPE"),
        ("image=float32", "can't be read"),
        ("=float32[3]", "can't be read"),
        ("x=float32[3", "can't be read"),
        ("x=float32[3]@0", "can't be read"),
        ("x=float32[3]@0..nan", "can't be read"),
        ("x=float32[3]extra", "can't be read"),
        ("x=complex64[3]", "unknown dtype 'complex64'; use one of float32"),
        ("x=float[3]", "unknown dtype"),
        ("x=float32[batch,,3]", "is no dimension"),
        ("x=float32[-1]", "is no dimension"),
        ("x=float32[3.5]", "is no dimension"),
        ("x=float32[²]", "is no dimension"),
        ("x=float32[b=x]", "is no dimension; write a number, .* such as total=past\\+new"),
        ("x=float32[t=a-b]", "is no dimension"),
        ("x=float32[t=a/2]", "is no dimension"),
        ("x=float32[t=a+]", "is no dimension"),
        ("x=float32[0*a]", "is no dimension"),
        ("x=float32[2*3]", "follows from no other dimension"),
        ("x=float32[t=a+b:1..9]", "is no dimension; .* what follows from others has no bounds of its own"),
        ("x=float32[0,3]", "size 0 holds nothing"),
        ("x=float32[b=0]", "size 0 holds nothing"),
        ("x=float32[b:5..2]", "hold no size"),
        ("x=float32[b:0..0]", "hold no size"),
        ("x=float32[b=9:2..8]", "outside its own bounds"),
        ("x=float32[b=1:2..]", "outside its own bounds"),
        ("x=int64[batch]", r"int64 without a range; .* e\.g\. x=int64\[batch\]@0..103"),
        ("x=float32[3]@2..1", "is empty: 2 is more than 1"),
        ("x=uint8[3]@0..300", "does not fit uint8; give integers from 0 to 255"),
        ("x=int64[3]@0..1.5", "does not fit int64; give integers"),
        ("x=int64[3]@0..1e300", "does not fit int64"),
        ("x=bool[3]@0..5", "does not fit bool"),
        ("x=float16[3]@0..1e5", "does not fit float16"),
        ("x=float32[3]@0..1e999", "does not fit float32"),
        ("x=float32[3]@padded", "can't be @padded; that is for masks"),
        ("x=int64[]@padded", "can't be @padded"),
    ],
)
def test_a_wrong_input_is_one_sentence(text: str, words: str) -> None:
    """Each wrong input is refused with what is wrong and what to write."""
    with pytest.raises(SpecError, match=words) as caught:
        InputSpec.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("dims", "words"),
    [
        (("n=4", "t=n+m"), "The dimension t=n\\+m names m, which is no dimension of any input; .* use one of batch, n"),
        (("a=b+1", "b=a+1"), "follows from itself"),
        (("n=4", "t=n+1", "t=2*n"), "The dimension t is both t=2\\*n and t=n\\+1; give one"),
        (("n=4", "t=n+1", "t=5"), "The dimension t is both t=n\\+1 and t=5; give one"),
        (("n=4", "t=n+1", "t:2..9"), "is both"),
    ],
)
def test_dims_that_follow_from_others_must_fit(dims: tuple[str, ...], words: str) -> None:
    """What is named must be there, and nothing may be said twice; that is seen before anything is built."""
    with pytest.raises(SpecError, match=words):
        ExportSpec(model="m:M", inputs=tuple(f"x{i}=float32[batch,{dim}]" for i, dim in enumerate(dims)))


def test_dims_that_follow_from_others_come_after_them() -> None:
    """In whatever order they are declared, and a word alone repeats what was said elsewhere."""
    specs = [InputSpec.parse(f"x{i}=float32[{dim}]") for i, dim in enumerate(("c=2*b+a", "a=3", "b=a+1", "b", "5*c"))]
    found = derived_dims(specs)
    assert [*found] == ["b", "c", "5*c"]
    sizes = {"a": 3}
    for name, dim in found.items():
        sizes[name] = dim.size_at(sizes)
    assert sizes == {"a": 3, "b": 4, "c": 11, "5*c": 55}


def test_an_input_made_in_python_is_checked_alike() -> None:
    """A record that did not come from text obeys the same rules."""
    for fields in (
        {"dtype": "complex64"},
        {"dtype": "int64"},
        {"dtype": "int64", "low": 0.0},
        {"dtype": "uint8", "low": -1.0, "high": 3.0},
    ):
        with pytest.raises(SpecError):
            InputSpec(name="x", dims=(), **fields)
    for wrong in ({}, {"size": 0}, {"name": "n", "size": -2}, {"name": "n", "low": 5, "high": 2}):
        with pytest.raises(SpecError):
            Dim(**wrong)


@pytest.mark.parametrize("name", ["a/b", "a:b", "a.b", "a%b", 'a"b', "a'b", "a`b", ""])
def test_a_name_that_mlflow_refuses_is_refused_first(name: str) -> None:
    """Names that MLflow has no place for are refused with the option that sets another."""
    with pytest.raises(SpecError, match="--name"):
        ExportSpec(model="alexnet", name=name)


@pytest.mark.parametrize("name", ["alexnet", "my model", "net_v2-final", "größe"])
def test_other_names_are_taken(name: str) -> None:
    """Spaces, dashes and letters of any language are fine."""
    assert ExportSpec(model="alexnet", name=name).title == name


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"opset": 3}, "Opset 3 is outside 9 to 25"),
        ({"opset": "x"}, "opset: "),
        ({"exporter": "onnx"}, "exporter: "),
        ({"colour": "red"}, "colour: "),
        ({"inputs": ["a=float32[3]", "a=float32[4]"]}, "input 'a' is declared twice"),
        ({"outputs": ["a", "a"]}, "output 'a' is declared twice"),
        ({"input_names": ["a", "b", "a"]}, "input name 'a' is declared twice"),
        ({"inputs": None}, "inputs: "),
        ({"inputs": [3]}, "inputs.0: "),
        ({"kwargs": [1]}, "kwargs: "),
        ({"outputs": "logits"}, "outputs: "),
    ],
)
def test_a_wrong_field_is_one_sentence(fields: dict[str, Any], words: str) -> None:
    """A field that is unknown or has a wrong value is named."""
    with pytest.raises(SpecError, match=words) as caught:
        make_spec(model="alexnet", **fields)
    assert "\n" not in str(caught.value)


def test_a_lone_input_needs_no_list() -> None:
    """One input may be written as text."""
    assert ExportSpec(model="m", inputs="x=float32[3]").inputs == (InputSpec.parse("x=float32[3]"),)


def test_records_are_frozen_and_closed() -> None:
    """A spec can't be changed, and unknown fields are no silent typo."""
    spec = ExportSpec(model="alexnet")
    with pytest.raises(ValidationError):
        spec.model = "resnet18"
    with pytest.raises(ValidationError):
        ExportSpec(model="alexnet", wieghts="DEFAULT")


def test_canonical_json_knows_neither_places_nor_secrets() -> None:
    """Equal content in another folder, or behind another signature of the URL, gives equal text."""
    a = ExportSpec(model="/home/a/net.py:Net", weights="/data/w.pth", sample=Path("/data/s.npz"))
    b = ExportSpec(model="/home/b/net.py:Net", weights="w.pth")
    assert a.canonical_json() == b.canonical_json()
    a = ExportSpec(model="m", weights="https://me:pw@h/w.pth?sig=1#sha256=0123abcd")
    b = ExportSpec(model="m", weights="https://h/w.pth?sig=2#sha256=0123abcd")
    assert a.canonical_json() == b.canonical_json()
    assert "pw" not in a.canonical_json()


def test_canonical_json_tells_what_decides_the_file() -> None:
    """Another range, bound, argument or weight gives another text, even in the last digit."""
    texts = [
        ExportSpec(model="m", **fields).canonical_json()
        for fields in (
            {"inputs": ["x=int64[n=4]@0..1000001"]}, {"inputs": ["x=int64[n=4]@0..1000002"]},
            {"inputs": ["x=int64[n=4:2..]@0..1000002"]}, {"kwargs": {"a": 1}}, {"kwargs": {"a": nn.GELU()}},
            {"kwargs": {"a": nn.GELU("tanh")}}, {"weights": "random:1"}, {"weights": "runs:/1/w.pth"},
            {"weights": "https://h/w.pth#sha256=0123abcd"}, {"weights": "https://h/w.pth#sha256=0123abce"},
        )
    ]  # fmt: skip
    assert len(set(texts)) == len(texts)


def test_canonical_json_leaves_out_sentences() -> None:
    """A mended sentence about what is static makes no new version."""
    one, other = (ExportSpec(model="m", static={"batch": why}) for why in ("tracing unrols it", "tracing unrolls it"))
    assert one.canonical_json() == other.canonical_json()


def test_live_objects_serialise_by_their_type() -> None:
    """A spec with a live module and state dict can be shown and recorded, without tensors."""
    module = nn.Linear(2, 2)
    spec = ExportSpec(model=module, weights=module.state_dict(), kwargs={"hook": print})
    fields = json.loads(spec.canonical_json())
    assert fields["model"].endswith("Linear>")
    assert "0x" not in spec.canonical_json()
