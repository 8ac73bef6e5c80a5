"""What a module does with values that it names, such as a padding id or NaN, is held against the file, too."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.core.proof.proving import weight
from tests.field.traced import traced

IDS = ("ids=int64[batch,length=12]@0..29999",)
FEATURES = ("x=float32[batch,6]",)
Wrong = Callable[[np.ndarray], np.ndarray]


class Bag(nn.Module):
    """The mean over the embeddings of tokens, perhaps of those that are no padding."""

    def __init__(self, *, num_rows: int = 30000, is_masked: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.e = nn.Embedding(num_rows, 16, padding_idx=1)
        self.last = nn.Linear(16, 4)
        self.is_masked = is_masked

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Scores."""
        rows = self.e(ids)
        if not self.is_masked:
            return self.last(rows.mean(1))  # type: ignore[no-any-return]
        mask = (ids != 1).unsqueeze(-1).to(rows.dtype)
        return self.last((rows * mask).sum(1) / mask.sum(1).clamp_min(1))  # type: ignore[no-any-return]


class Columns(nn.Module):
    """A table of its own for each column of ids."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tables = nn.ModuleList([nn.Embedding(40, 3) for _ in range(4)])
        self.last = nn.Linear(12, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Scores."""
        rows = [table(ids[:, index]) for index, table in enumerate(self.tables)]
        return self.last(torch.cat(rows, 1))  # type: ignore[no-any-return]


class Fields(nn.Module):
    """One table for all columns, whose ids are moved by an offset each."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.e = nn.Embedding(160, 3)
        self.register_buffer("offsets", torch.tensor([0, 40, 80, 120]))
        self.last = nn.Linear(3, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Scores."""
        return self.last(self.e(ids + self.offsets).sum(1))  # type: ignore[no-any-return]


class Treated(nn.Module):
    """Features that are treated before a linear layer sees them."""

    def __init__(self, treat: Callable[[torch.Tensor], torch.Tensor] | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Linear(6, 4)
        self.treat = treat

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        return self.a(x if self.treat is None else self.treat(x))  # type: ignore[no-any-return]


class Numbered(nn.Module):
    """Embedded tokens that are treated by their ids."""

    def __init__(self, treat: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.e = nn.Embedding(30000, 4)
        self.treat = treat

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Rows, some of them treated."""
        rows = self.e(ids)
        return rows.mean(1) if self.treat is None else self.treat(rows, ids).mean(1)  # type: ignore[no-any-return]


def _with_row(row: int) -> Wrong:
    def change(table: np.ndarray) -> np.ndarray:
        table[row] = 0.3
        return table

    return change


@pytest.mark.slow
def test_rows_that_a_table_calls_special_are_looked_up(tmp_path: Path) -> None:
    """A true file passes; one whose row of the padding, or whose first or last row, is wrong does not."""
    true = traced(Bag(), IDS, tmp_path)
    assert true.prove().verdict == "pass"
    for row in (1, 0, 29999):
        assert true.prove(mutate=weight("e.weight", _with_row(row))).verdict == "fail"


def test_a_third_of_a_table_is_upside_down(tmp_path: Path) -> None:
    """Rows drawn evenly see that, whatever is special."""

    def change(table: np.ndarray) -> np.ndarray:
        table[20000:] = table[20000:][::-1].copy()
        return table

    assert traced(Bag(), IDS, tmp_path).prove(mutate=weight("e.weight", change)).verdict == "fail"


@pytest.mark.parametrize("row", [2, 517, 998])
def test_a_small_table_is_looked_up_whole(row: int, tmp_path: Path) -> None:
    """No single row of a thousand may be wrong."""
    true = traced(Bag(num_rows=1000), ("ids=int64[batch,length=12]@0..999",), tmp_path)
    assert true.prove().verdict == "pass"
    assert true.prove(mutate=weight("e.weight", _with_row(row))).verdict == "fail"


@pytest.mark.parametrize("row", [0, 17, 39])
def test_tables_of_single_columns_are_looked_up_whole(row: int, tmp_path: Path) -> None:
    """No single row of the table of one column may be wrong."""
    true = traced(Columns(), ("ids=int64[batch,4]@0..39",), tmp_path)
    assert true.prove().verdict == "pass"
    for table in (0, 3):
        assert true.prove(mutate=weight(f"tables.{table}.weight", _with_row(row))).verdict == "fail"


@pytest.mark.slow
@pytest.mark.parametrize("row", [3, 77, 159])
def test_a_table_with_offsets_is_looked_up_whole(row: int, tmp_path: Path) -> None:
    """No single row that some column can reach may be wrong."""
    true = traced(Fields(), ("ids=int64[batch,4]@0..39",), tmp_path)
    assert true.prove().verdict == "pass"
    assert true.prove(mutate=weight("e.weight", _with_row(row))).verdict == "fail"


def test_a_mask_of_padding_that_got_lost(tmp_path: Path) -> None:
    """The file averages over the padding, too."""
    assert traced(Bag(is_masked=True), IDS, tmp_path).prove().verdict == "pass"
    assert traced(Bag(is_masked=True), IDS, tmp_path, file_of=Bag()).prove().verdict == "fail"


TREATED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "nan_to_num": lambda x: torch.nan_to_num(x, nan=0.0, posinf=10.0, neginf=-10.0).clamp(-100, 100),
    "clamp alone": lambda x: x.clamp(-100, 100),
    "missing": lambda x: torch.where(x == -999, torch.zeros(()), x),
    "not a number": lambda x: torch.where(torch.isnan(x), torch.zeros(()), x),
    "outlier": lambda x: x.masked_fill(x.abs() > 1e4, 0.0),
    "standardised": lambda x: ((x - 3.0) / 0.01).clamp(-1e5, 1e5) * 0.01,
    "zero is absent": lambda x: torch.where(x == 0, torch.ones(()), x),
    "empty rows": lambda x: x + (x.abs().sum(-1, keepdim=True) == 0).to(x.dtype),
}


@pytest.mark.parametrize("name", TREATED)
def test_a_treatment_of_values_that_got_lost(name: str, tmp_path: Path) -> None:
    """The true file passes; one without the treatment does not."""
    true, treat = Treated(TREATED[name]), TREATED[name]
    lost = {"standardised": lambda x: x - 3.0}.get(name)
    wrong = traced(true, FEATURES, tmp_path, file_of=Treated(lost)).prove()
    assert (wrong.verdict, traced(Treated(treat), FEATURES, tmp_path).prove().verdict) == ("fail", "pass")


NUMBERED: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "below four": lambda rows, ids: rows * (ids >= 4).unsqueeze(-1),
    "among": lambda rows, ids: rows * (ids.unsqueeze(-1) != torch.arange(101, 103)).all(-1, keepdim=True),
    "as floats": lambda rows, ids: rows * (ids.to(torch.float32) != 7.0).unsqueeze(-1),
    "first end": lambda rows, ids: rows.gather(1, (ids == 2).int().argmax(-1)[:, None, None].expand(-1, 1, 4)),
    "times a mask": lambda rows, ids: rows * ((ids * (ids > 5)) != 7).unsqueeze(-1),
}


@pytest.mark.parametrize("name", NUMBERED)
def test_ids_that_a_module_names(name: str, tmp_path: Path) -> None:
    """The file goes another way for a handful of ids out of thirty thousand."""
    lost = {"first end": lambda rows, ids: rows[:, :1], "below four": lambda rows, ids: rows * (ids >= 3).unsqueeze(-1)}
    true = Numbered(NUMBERED[name])
    assert traced(true, IDS, tmp_path, file_of=Numbered(lost.get(name))).prove().verdict == "fail"
    assert traced(true, IDS, tmp_path).prove().verdict == "pass"
