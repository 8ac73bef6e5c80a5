"""Conditions on sizes that a module's code decides, such as `if x.shape[1] > 64`, as symbolic relations."""

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import sympy


@dataclass(frozen=True)
class Condition:
    """A condition on sizes that a module's code decided one way."""

    expression: sympy.Basic
    """Over symbols that are named as the dimensions."""
    holds: bool
    line: str
    """Of the model's own code."""

    @property
    def names(self) -> tuple[str, ...]:
        """Dimensions that decide it."""
        return tuple(sorted(str(symbol) for symbol in self.expression.free_symbols))

    @property
    def numbers(self) -> set[int]:
        """Numbers that stand in it."""
        return {abs(int(number)) for number in self.expression.atoms(sympy.Integer)}

    def edges(self, name: str, sizes: Mapping[str, int]) -> set[int]:
        """Sizes of one dimension, beside those of the others, where its two sides are equal, rounded down.

        Args:
            name: of the dimension.
            sizes: of all.
        """
        values = {s: sympy.Integer(sizes[str(s)]) for s in self.expression.free_symbols if str(s) != name}
        found = set[int]()
        with contextlib.suppress(ArithmeticError, TypeError, ValueError, sympy.PolynomialError):
            for relation in self.expression.xreplace(values).atoms(sympy.core.relational.Relational):
                symbols, difference = relation.free_symbols, relation.lhs - relation.rhs
                if len(symbols) == 1 and difference.has(*symbols) and difference.is_polynomial(*symbols):
                    roots = sympy.Poly(difference, *symbols).nroots()
                    found |= {math.floor(float(root) + 1e-6) for root in roots if root.is_real}
        return found

    def is_broken_at(self, sizes: Mapping[str, int]) -> bool:
        """Is it decided the other way at these sizes? Where it divides by zero it is not decided."""
        values = {symbol: sympy.Integer(sizes[str(symbol)]) for symbol in self.expression.free_symbols}
        try:
            return bool(self.expression.xreplace(values)) != self.holds
        except (ArithmeticError, TypeError, ValueError):  # sympy has a number or relation that is none
            return False

    def __str__(self) -> str:
        broken = sympy.Not(self.expression) if self.holds else self.expression
        return f"{broken} ({self.line})"


@dataclass(frozen=True)
class Way:
    """How a module's code went at one size of each dynamic dimension."""

    conditions: tuple[Condition, ...] = ()
    """In the order in which they were decided, each once."""
    blind: str = ""
    """Why further ones may be unknown; empty: they are not."""
    limits: tuple[Condition, ...] = ()
    """Those of one size that operators decided inside themselves, such as where a slice of a table ends."""
