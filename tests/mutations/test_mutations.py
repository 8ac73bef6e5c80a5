"""Broken files fail, untouched ones pass: a few small models every day, the whole panel in tests/benchmarks."""

from pathlib import Path

import onnx
import pytest

from tasks.core.proof.validation import validate
from tests.benchmarks.mutation_peers import PEERS, PeerProbe
from tests.benchmarks.mutation_trials import ASSAY, Outcome, try_mutants
from tests.models.panel import PANEL, Subject, prepare
from tests.mutations import mutate

ENTRIES = {entry.name: entry for entry in PANEL}
NUM_MUTATIONS = 30


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """The digits, exported once."""
    return prepare(ENTRIES["digits"], tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def outcomes(digits: Subject, tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """What became of the digits' mutants."""
    return _outcomes(digits, tmp_path_factory.mktemp("mutants"))


def _outcomes(subject: Subject, folder: Path) -> list[Outcome]:
    untouched = validate(subject.candidate, subject.reference, threads=1, keep=True).evidence
    assert untouched.verdict == "pass", untouched.reasons
    return list(try_mutants(subject, folder, num_places=1))


def _survivors(found: list[Outcome]) -> list[str]:
    assert len(found) >= NUM_MUTATIONS
    return [str(o) for o in found if not _is_refused(o) and not o.is_equivalent]


def _is_refused(outcome: Outcome) -> bool:
    """Does it fail? Of what most inputs don't show, no pass is asked for, no more."""
    return outcome.verdict == "fail" or (outcome.mutant.family == "sparse" and outcome.verdict == "inconclusive")


def test_every_mutant_of_a_trained_model_fails(outcomes: list[Outcome]) -> None:
    """Each mutation in one place is refused, or float64 shows that it changes nothing; the file itself passes."""
    assert _survivors(outcomes) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Heads", "UNet"])
def test_every_mutant_of_a_random_model_fails(name: str, tmp_path: Path) -> None:
    """Several outputs, integers and pictures as outputs are no way around the proof."""
    (tmp_path / "mutants").mkdir()
    assert _survivors(_outcomes(prepare(ENTRIES[name], tmp_path), tmp_path / "mutants")) == []


SPARSE = {
    "DeadChannel": {"weights_behind_a_dead_channel_off", "one_bias_off", "wrong_beyond_16_rows"},
    "Vocabulary": {"one_row_of_a_table_off", "last_row_of_a_table_off", "wrong_at_the_bound_of_a_length"},
    "RelativePositions": {"one_entry_of_what_is_added_off", "one_element_off_by_a_hundredth"},
    "Branches": {"one_element_of_a_branch_off"},
    "UNet": {"one_channel_folded_with_another_variance"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SPARSE)
def test_no_sparse_mutant_passes(name: str, tmp_path: Path) -> None:
    """One row, one element, one channel, one side of a branch, a size: none of them is a way around the proof."""
    (tmp_path / "mutants").mkdir()
    subject = prepare(ENTRIES[name], tmp_path)
    untouched = validate(subject.candidate, subject.reference, threads=1, keep=True).evidence
    assert (untouched.verdict, untouched.reasons) == ("pass", ())
    assert untouched.coverage is not None
    assert (untouched.coverage.missing, untouched.coverage.unexplained) == ((), ())
    found = list(try_mutants(subject, tmp_path / "mutants", family="sparse", num_places=1))
    assert {outcome.mutant.mutation for outcome in found} >= SPARSE[name]
    assert [str(outcome) for outcome in found if outcome.verdict == "pass"] == []


def test_usual_tolerances_let_broken_files_pass(outcomes: list[Outcome]) -> None:
    """One random input and a fixed tolerance accept mutants that Assay refuses, those of dims among them."""
    for peer in PEERS:
        missed = [o for o in outcomes if peer not in o.caught_by and ASSAY in o.caught_by]
        assert any(o.mutant.family == "dims" for o in missed), peer


def test_mutants_say_what_is_wrong_with_them(digits: Subject, tmp_path: Path) -> None:
    """A mutant has a file of its own, and names the nodes to blame as that file does."""
    clean = digits.graph.path.read_bytes()
    for mutant in mutate(digits.graph.path, tmp_path, num_places=1, runs=PeerProbe(digits).runs):
        graph = onnx.load(mutant.path).graph
        assert mutant.path.read_bytes() != clean, mutant.name
        assert set(mutant.nodes) <= {node.name for node in graph.node}, mutant.name
        assert bool(mutant.nodes) != mutant.is_declaration, mutant.name
        assert mutant.parameter in ("", *(tensor.name for tensor in graph.initializer)), mutant.name
    assert digits.graph.path.read_bytes() == clean


def test_mutants_are_the_same_each_time(digits: Subject, tmp_path: Path) -> None:
    """A seed decides on places and values, so that a survivor can be looked at again."""
    runs = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        runs.append([(m.name, m.path.read_bytes()) for m in mutate(digits.graph.path, folder, seed=3)])
    assert runs[0] == runs[1]
