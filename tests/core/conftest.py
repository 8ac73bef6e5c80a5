"""What tests of several rooms share."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture
def imports_as_before() -> Iterator[None]:
    """Forget what a test imported."""
    from tasks.core.families import python
    from tasks.core.model import building

    modules, path, folders = dict(sys.modules), list(sys.path), list(python._folders)
    yield
    for name in [n for n in sys.modules.keys() - modules.keys() if python._place(sys.modules[n])]:
        del sys.modules[name]
    sys.modules.update(modules)
    sys.path[:] = path
    python._folders[:] = folders
    building._imported_by.clear()
