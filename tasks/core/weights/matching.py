"""Which keys of a set of weights are which of a module's: prefixes on either side, wrappers, tied and surplus keys."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from tasks.core.weights.state_dicts import StateDict, copied, unwrapped_key
from tasks.core.weights.tied_weights import held_by

_MAX_WORDS = 6
"""Of a prefix."""
_MAX_FITS = 50
"""Prefixes that are looked at closely: those with most keys and shapes, no less than half as many as the first."""
_MAX_KEYS = 1_000_000
"""Over all of these; more take minutes."""


@dataclass(frozen=True)
class Fit:
    """One way to give a module the tensors of a set: the words dropped from keys, and those put before them."""

    found: StateDict
    prefix: str
    own_prefix: str
    tensors: Mapping[str, Any] = field(repr=False)
    """Under the names that the module knows."""
    renamed: tuple[str, ...]
    num_named: int
    """Keys of the module that have a tensor."""
    num_matching: int
    """Of these, those that have one of their own shape."""
    is_covering: bool
    """Nothing lacks but what may."""
    is_exact: bool
    """Nothing is left over either."""
    hides: bool
    """Dropping the prefix would lay one key upon another."""

    @property
    def label(self) -> str:
        """What `FILE#LABEL` calls the keys that fit."""
        return ".".join(filter(None, [self.found.label, self.prefix.rstrip(".")]))


class OwnKeys:
    """The keys of a module: what they are called without wrappers, which share storage, what it computes itself."""

    def __init__(self, module: nn.Module) -> None:
        self.state = module.state_dict()
        self.computed = {name: value for name, value in module.named_buffers() if name not in self.state}
        """Non-persistent buffers, by name."""
        plain = {unwrapped_key(key): key for key in self.state}
        self.is_plain = len(plain) == len(self.state)
        self.by_plain = plain if self.is_plain else {key: key for key in self.state}
        self.held_by = held_by(self.state)

    def prefixes(self) -> list[str]:
        """The leading words that most keys share, none first: the module may wrap the one that was trained."""
        keys, prefixes = list(self.by_plain), [""]
        while words := Counter(key.partition(".")[0] for key in keys if "." in key).most_common(1):
            word, num_keys = words[0]
            if num_keys * 2 <= len(self.state):
                break
            prefixes.append(f"{prefixes[-1]}{word}.")
            keys = [key.removeprefix(f"{word}.") for key in keys if key.startswith(f"{word}.")]
        return prefixes

    def still_missing(self, missing: list[str], given: Mapping[str, Any]) -> list[str]:
        """The keys that lack even though others are loaded into the same storage.

        Args:
            missing: keys without a tensor of their own.
            given: tensors by key.
        """
        absent = set(missing)
        return [
            key
            for key in missing
            if not any(other in given and other not in absent for other in self.held_by.get(key, ()))
        ]

    def without_computed(self, tensors: Mapping[str, Any]) -> list[str]:
        """Keys that only hold what the module computes itself, with equal values."""
        return [key for key, value in tensors.items() if key in self.computed and _equal(self.computed[key], value)]


def fits_of(
    found: StateDict, own: OwnKeys, *, ignore_missing: tuple[str, ...], ignore_unexpected: tuple[str, ...]
) -> list[Fit]:
    """The ways in which a set gives a module tensors, the one with most keys and fewest words changed first.

    Args:
        found: the set.
        own: the module's keys.
        ignore_missing: globs of keys that may lack.
        ignore_unexpected: globs of keys that may be left over.
    """
    keys = [unwrapped_key(key) for key in found.tensors]
    is_wrapped = own.is_plain and keys != list(found.tensors) and len(set(keys)) == len(keys)
    keys, plain = (keys, unwrapped_key) if is_wrapped else (list(found.tensors), str)
    votes = Counter[tuple[str, str]]({("", ""): 0})
    for own_prefix in own.prefixes():
        wanted = {key.removeprefix(own_prefix): own.state[full] for key, full in own.by_plain.items()
                  if key.startswith(own_prefix)}  # fmt: skip
        for key, value in zip(keys, found.tensors.values(), strict=True):
            words = key.split(".")
            for num_words in range(min(len(words), _MAX_WORDS + 1)):
                if (rest := ".".join(words[num_words:])) in wanted:
                    prefix = "".join(f"{word}." for word in words[:num_words])
                    votes[prefix, own_prefix] += 1 + _has_shape_of(wanted[rest], value)
    most = max(3, min(_MAX_FITS, _MAX_KEYS // max(1, len(keys))))
    ranked = sorted(votes.items(), key=lambda item: (-item[1], len("".join(item[0]))))[:most]
    ranked = [item for item in ranked if item[1] * 2 >= ranked[0][1] or item[0] == ("", "")]
    unwrapped = ("_orig_mod. or module. dropped",) if is_wrapped and own.by_plain.keys() == own.state.keys() else ()
    ignored = (ignore_missing, ignore_unexpected)
    return [_fit(found, words, own=own, plain=plain, unwrapped=unwrapped, ignored=ignored) for words, _ in ranked]


def _fit(
    found: StateDict,
    words: tuple[str, str],
    *,
    own: OwnKeys,
    plain: Callable[[str], str],
    unwrapped: tuple[str, ...],
    ignored: tuple[tuple[str, ...], tuple[str, ...]],
) -> Fit:
    prefix, own_prefix = words
    name = _names(words, own=own, plain=plain)
    tensors = copied(found.tensors, name)
    inside = {name(key): value for key, value in found.tensors.items() if plain(key).startswith(prefix)}
    missing = own.still_missing([key for key in own.state if key not in inside], inside)
    matching = [key for key, value in own.state.items() if _has_shape_of(value, inside.get(key))]
    num_named = len(own.state.keys() & inside.keys())
    covers = 0 < num_named == len(matching) and all(is_allowed(key, ignored[0]) for key in missing)
    computed = set(own.without_computed(inside))
    known = own.state.keys() | computed
    # beside a prefix stand the counters of averages, such as `n_averaged`
    surplus = [
        key
        for key, value in found.tensors.items()
        if (name(key) not in known if plain(key).startswith(prefix) else getattr(value, "numel", int)() != 1)
    ]
    return Fit(
        found,
        prefix,
        own_prefix,
        tensors,
        renamed=(*unwrapped, *([f"{prefix}* -> {own_prefix}*"] if prefix or own_prefix else [])),
        num_named=num_named,
        num_matching=len(matching),
        is_covering=covers,
        is_exact=covers and all(is_allowed(key, ignored[1]) or is_allowed(name(key), ignored[1]) for key in surplus),
        hides=len(tensors) < len(found.tensors),
    )


def is_allowed(key: str, globs: tuple[str, ...]) -> bool:
    """Does a glob allow the key?

    Args:
        key: of the module or the weights.
        globs: patterns as of a shell, upper and lower case apart.
    """
    return any(fnmatchcase(key, glob) for glob in globs)


def _names(words: tuple[str, str], *, own: OwnKeys, plain: Callable[[str], str]) -> Callable[[str], str]:
    """What a key of the file is called in the module."""
    prefix, own_prefix = words

    def name(key: str) -> str:
        key = plain(key)
        if not key.startswith(prefix):
            return key
        key = own_prefix + key.removeprefix(prefix)
        return own.by_plain.get(key, key)

    return name


def _has_shape_of(own: Any, given: Any) -> bool:
    if not isinstance(own, torch.Tensor):
        return given is not None
    return isinstance(given, torch.Tensor) and (is_lazy(own) or own.shape == given.shape)


def _equal(computed: torch.Tensor, given: Any) -> bool:
    """Has a tensor of a file the values that the module computed, as far as the file's dtype holds them?"""
    return (
        isinstance(given, torch.Tensor)
        and computed.shape == given.shape
        and torch.equal(computed.detach().to("cpu", given.dtype), given.detach().cpu())
    )
