"""Graph mutations over onnx_ir: the ways in which a file comes to compute something else than its model.

`mutate` puts one mutated copy after another into a folder. Each mutation is a function that changes one
place of a graph and says whether it found anything to change; a file of this package holds those of one kind.
"""

from tests.mutations.mutants import MUTATIONS, Mutant, mutate

__all__ = ["MUTATIONS", "Mutant", "mutate"]
