"""Command lines called in this process, as the tests of `flows` call them."""

from tests.flows.conftest import call

__all__ = ["call"]
