"""Trained networks of the hub: `hf:ORG/NAME` from the cache or a folder; `weights="hub"` downloads what is missing."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from advkit.core.errors import InputError
from advkit.models._checkpoint import fill, read_weights, restore
from advkit.models._classifier import Classifier
from advkit.models._hub import Snapshot, snapshot
from advkit.models._hub_networks import State, is_timm
from advkit.models._reference import from_snapshot
from advkit.models._unwrapping import unusable

DOWNLOAD = "hub"
"""The value of `weights` that asks for a download."""


def load_hub(name: str, weights: str | Path | None, options: Mapping[str, Any]) -> Classifier:
    """Load a network of the hub, with the weights of its own snapshot or of a file.

    Args:
        name: "hf:ORG/NAME", "hf:ORG/NAME@REVISION" or "hf:./FOLDER".
        weights: None for the weights in the cache or the folder, "hub" to download missing files, or a file.
        options: `mean`, `std` and `input_shape`, which override the preprocessor's.

    Raises:
        InputError: a file is missing or damaged, or weights and config do not fit.
    """
    found = snapshot(name.partition(":")[2], download=weights == DOWNLOAD)
    if weights in (None, DOWNLOAD):
        state = _merged(found, found.weights())
        return _filled(found, state, options, found.source)
    held, card = read_weights(weights or "")
    if card is None:
        return _filled(found, next(iter(held.values())), options, str(weights))
    if card.name != found.name:
        raise InputError(f"{weights} holds weights of {card.name!r}, expected {found.name!r}: give that as the model")
    return restore(held, card, weights or "", options)


def _filled(found: Snapshot, state: State, options: Mapping[str, Any], source: str) -> Classifier:
    broken = unusable(state)
    if broken:
        raise InputError(f"the weights of {found.name} are no weights: {broken}")
    if not is_timm(found):
        classifier = from_snapshot(replace(found, source=source), None, options, state)
    else:
        classifier = from_snapshot(found, 0, options)
        said = fill(classifier.net, state, source)
        classifier.card = replace(classifier.card, source=f"{source} ({said})" if said else source)
    classifier.card = replace(classifier.card, seed=None)
    return classifier


def _merged(found: Snapshot, paths: list[Path]) -> State:
    """The tensors of all files, each name once."""
    state: State = {}
    for path in paths:
        part, _ = read_weights(path)
        twice = state.keys() & part[""].keys()
        if twice:
            raise InputError(f"two files of {found.name} hold {sorted(twice)[0]}")
        state |= part[""]
    return state
