"""Build and load a model of transformers as its users do: its class from the config, its weights by the library."""

import copy
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from tasks.core.errors import ModelError, SpecError, WeightsError, one_line, some
from tasks.core.families.transformers_configs import AUTO_CLASSES, CONFIG, check_code, read_config, title_of

NOTES: WeakKeyDictionary[nn.Module, tuple[str, ...]] = WeakKeyDictionary()
"""What a reader should know of how a module was loaded."""


def load(
    folder: Path, *, pretrained: bool = False, task: str = "", trust_remote_code: bool = False, **options: Any
) -> nn.Module:
    """Build a model in float32, without a cache of keys and values.

    Args:
        folder: holds config.json.
        pretrained: with the folder's weights; else as the library initialises it.
        task: names the class; empty: the config's first architecture does.
        trust_remote_code: run Python code of the folder, where the config names classes there.
        options: of the config or of `from_pretrained`, e.g. `attn_implementation`.

    Raises:
        SpecError: the config can't be read, its model has no such task, or needs code that is not trusted.
        ModelError: the model needs code that transformers does not have.
        WeightsError: the weights lack something that the model has.
    """
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    check_code(folder, trusted=trust_remote_code)
    own = read_config(folder).get("auto_map") or {}
    trust = {"trust_remote_code": True} if own else {}
    try:
        config, options = transformers.AutoConfig.from_pretrained(
            folder, return_unused_kwargs=True, local_files_only=True, **trust, **options
        )
    except (ValueError, KeyError, OSError) as error:
        raise SpecError(
            f"{title_of(folder)}/{CONFIG} describes no model of transformers: {one_line(error)}."
        ) from error
    model_class = _class_of(config, own, task=task, folder=folder)
    for part in (config, *(getattr(config, name) for name in config.sub_configs)):
        if getattr(part, "use_cache", False):
            part.use_cache = False
    if not pretrained:
        config.dtype = torch.float32
        built: nn.Module = model_class._from_config(config, **options)
        return built
    model, info = model_class.from_pretrained(
        folder, config=config, dtype=torch.float32, output_loading_info=True, local_files_only=True, **options
    )
    if lacking := sorted(info["missing_keys"]):
        raise WeightsError(
            f"{len(lacking)} keys of {model_class.__name__} are missing from the weights of {title_of(folder)}: "
            f"{some(lacking, most=5)}; name the --task that they were trained for."
        )
    left = sorted(info["unexpected_keys"])
    NOTES[model] = (f"transformers leaves {len(left)} keys of the weights aside: {some(left, most=5)}",) if left else ()
    loaded: nn.Module = model
    return loaded


def _own_class(auto_map: dict[str, Any], name: str, folder: Path) -> Any:
    """The class of the folder's own code that a name of `auto_map` stands for.

    Raises:
        ModelError: its file can't be read, or raises.
    """
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    try:
        return get_class_from_dynamic_module(auto_map[name], folder, local_files_only=True)
    except Exception as error:  # somebody's code
        raise ModelError(
            f"{title_of(folder)} names {auto_map[name]}, which can't be loaded: {one_line(error)}."
        ) from error


def attention_of(module: nn.Module) -> str:
    """How the models of transformers in a module compute attention, e.g. `sdpa`; empty: there is none.

    Args:
        module: as `load` made it, or a pipeline that has one.
    """
    return next((str(part.config._attn_implementation) for part in _models_in(module)), "")


def with_eager_attention(module: nn.Module) -> nn.Module:
    """A copy that has the same tensors and computes attention step by step.

    Args:
        module: stays as it is.
    """
    tensors = (*module.parameters(), *module.buffers())
    copied = copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})
    for part in _models_in(copied):
        part.set_attn_implementation("eager")
    return copied


def _models_in(module: nn.Module) -> list[Any]:
    """The models of transformers that a module is or has."""
    import transformers

    return [part for part in module.modules() if isinstance(part, transformers.PreTrainedModel)]


def _class_of(config: Any, own: dict[str, Any], *, task: str, folder: Path) -> Any:
    """The class of the task, or of the config's first architecture, or the bare model."""
    import transformers

    named, title = next(iter(config.architectures or ()), ""), title_of(folder)
    mine = {str(place).rpartition(".")[2]: auto for auto, place in own.items() if auto.startswith("AutoModel")}
    if not task and named in mine:
        return _own_class(own, mine[named], folder)
    if not task and (found := getattr(transformers, named, None)) is not None:
        return found
    if not task and named:
        raise ModelError(f"{title} is a {named}, which transformers does not have; give a --task.")
    task = task or "feature-extraction"
    if task not in AUTO_CLASSES:
        raise SpecError(f"There is no task {task!r}; there are {', '.join(AUTO_CLASSES)}.")
    if AUTO_CLASSES[task] in own:
        return _own_class(own, AUTO_CLASSES[task], folder)
    classes = getattr(transformers, AUTO_CLASSES[task])._model_mapping
    if type(config) not in classes:
        raise SpecError(f"{title} is a {config.model_type}, which transformers has no {task} of; leave --task out.")
    known = classes[type(config)]
    return next(iter(known)) if isinstance(known, tuple | list) else known
