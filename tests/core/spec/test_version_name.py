"""Names of registered versions are read in each form that MLflow and people use."""

import pytest

from tasks.core.errors import SpecError
from tasks.core.spec.version_name import VersionName


@pytest.mark.parametrize("text", ["digits/3", "models:/digits/3", "digits/03"])
def test_a_number_names_a_version(text: str) -> None:
    """With `models:/` before it or without."""
    assert VersionName.parse(text) == VersionName(name="digits", version="3")


def test_an_alias_names_a_version() -> None:
    """As in MLflow's addresses."""
    assert VersionName.parse("digits@champion") == VersionName(name="digits", alias="champion")
    assert VersionName.parse("models:/my net@proven") == VersionName(name="my net", alias="proven")


@pytest.mark.parametrize(
    "text", ["digits", "digits/", "digits/three", "/3", "digits@", "runs:/1/model", "digits/3/4", ""]
)
def test_what_names_no_version_is_refused(text: str) -> None:
    """In one sentence, with what can be written."""
    with pytest.raises(SpecError, match=r"names no registered version; write NAME/VERSION, NAME@ALIAS or models:/"):
        VersionName.parse(text)
