"""What can be said of a spec before anything is built: does all it names exist?"""

from tasks.core.errors import SpecError
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.core.spec.resolve import known_family
from tasks.core.weights.sources import source_of


def check(spec: ResolvedSpec) -> None:
    """Find the model's factory, the weights and the sample of a spec, without building or fetching.

    Raises:
        SpecError, ModelError: there is no such model, sample or URL.
        WeightsError: there are no such weights.
    """
    family = known_family(spec)
    family.factory(spec.model)
    if spec.sample is not None and not spec.sample.is_file():
        raise SpecError(f"There is no sample file {spec.sample}; give an .npz with arrays by input name.")
    source_of(spec).check()
