"""What can be said of a spec before anything is built: does all it names exist?"""

from torch import nn

from tasks.core.errors import SpecError
from tasks.core.model.factories import find_factory
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.weights_kinds import random_seed, weights_file, weights_kind
from tasks.core.weights.torchvision import weights_enum_member
from tasks.core.weights.urls import split_url


def check(spec: ExportSpec) -> None:
    """Find the model's factory, the weights and the sample of a resolved spec, without building or fetching.

    Raises:
        SpecError, ModelError: there is no such model, sample or URL.
        WeightsError: there are no such weights.
    """
    if not isinstance(spec.model, nn.Module):
        find_factory(spec.model)
    if spec.sample is not None and not spec.sample.is_file():
        raise SpecError(f"There is no sample file {spec.sample}; give an .npz with arrays by input name.")
    match weights_kind(spec):
        case "random":
            random_seed(spec.weights)
        case "url":
            split_url(spec.weights)
        case "file":
            weights_file(spec.weights)
        case "torchvision":
            weights_enum_member(spec.model, spec.weights)


def cost(spec: ExportSpec) -> float:
    """About how much arithmetic one run of a torchvision model takes, in GFLOP; 0 where nothing says it.

    Source: the `_ops` that torchvision notes beside its weights.
    """
    if not isinstance(spec.model, str) or ":" in spec.model:
        return 0.0
    from torchvision import models

    weights = models.get_model_weights(spec.model)
    return max((float(member.meta.get("_ops", 0.0)) for member in weights), default=0.0)
