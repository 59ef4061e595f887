"""Export of adversarial images with their clean images: NumPy, safetensors or PNG files."""

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from advkit.core.errors import InputError, unknown
from advkit.core.files import atomic_write, user_path
from advkit.core.result import Result
from advkit.evaluation.measure.eight_bit import nearest_level, toward
from advkit.evaluation.runs.run_folder import Run, load_run

INDEX = "index.csv"
"""The table in a folder of PNG files."""

COLUMNS = ("id", "label", "success", "fits_8bit", "clean", "adversarial")
"""Columns of that table."""

Pairs = dict[str, Tensor]
"""`x` and `x_adversarial` (N, C, H, W), `y` and `y_adversarial` (N,), the same labels; `ids` and `success` (N,)."""


def export_images(run: Run | str | os.PathLike[str], path: str | os.PathLike[str], *, attack: str | None = None) -> int:
    """Write the images of one attack of a run, each with its clean image, in the order of the data.

    Args:
        run: the run, or its folder; it must have kept its images.
        path: FILE.npz, FILE.safetensors, or a folder for PNG files.
        attack: name or spec of the attack; not needed if the run has only one.

    Returns:
        the number of pairs.

    Raises:
        InputError: there is no such attack, the run kept no images, or the path has another ending.
        OSError: the disk is full.
    """
    run = run if isinstance(run, Run) else load_run(run)
    which = _which(run, attack)
    parts = [_of_batch(run, number, which) for number in run.numbers()]
    pairs = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    config = run.record["config"]
    about = {"attack": run.attacks[which], "data": str(config["data"]["name"]), "model": str(config["model"]["name"])}
    return write_pairs(pairs, path, about, tuple(config["bounds"]))


def export_result(x: Tensor, y: Tensor, result: Result, path: str | os.PathLike[str], **about: str) -> int:
    """Write the result of an attack with its clean images.

    Args:
        x: clean images (N, C, H, W) in [0, 1].
        y: labels (N,).
        result: the attack's result for them.
        path: FILE.npz, FILE.safetensors, or a folder for PNG files.
        **about: notes on the images that are written too, such as `attack="pgd(eps=0.1)"`.

    Returns:
        the number of pairs.

    Raises:
        InputError: shapes do not fit, or the path has another ending.
        OSError: the disk is full.
    """
    if len(x) != len(result) or len(y) != len(x) or x.shape != result.x_adv.shape:
        raise InputError(f"expected as many images and labels as results ({len(result)}), got {len(x)} and {len(y)}")
    pairs = {"x": x, "y": y, "x_adversarial": result.x_adv, "y_adversarial": y}
    pairs |= {"ids": torch.arange(len(x), device="cpu"), "success": result.success}
    return write_pairs(pairs, path, about, (0.0, 1.0))


def write_pairs(
    pairs: Mapping[str, Tensor],
    path: str | os.PathLike[str],
    about: Mapping[str, str],
    bounds: tuple[float, float],
) -> int:
    """Write pairs in the form given by the path's ending, atomically.

    Args:
        pairs: images, labels, ids and verdicts by name.
        path: FILE.npz, FILE.safetensors, or a folder for PNG files.
        about: notes on the images.
        bounds: range of the pixels.

    Returns:
        the number of pairs.
    """
    place = user_path(path)
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in pairs.items()}
    if place.suffix == ".npz":
        arrays: dict[str, Any] = {name: _array(tensor) for name, tensor in held.items()}
        arrays |= {f"about_{key}": np.array(value) for key, value in about.items()}
        atomic_write(place, lambda file: np.savez_compressed(file, **arrays))
    elif place.suffix == ".safetensors":
        text = {"advkit_images": json.dumps(dict(about), sort_keys=True)}
        content = safetensors.torch.save({name: tensor.clone() for name, tensor in held.items()}, text)
        atomic_write(place, lambda file: file.write(content))
    elif place.suffix:
        raise InputError(f"expected FILE.npz, FILE.safetensors or a folder for PNG files, got {path}")
    else:
        _write_pngs(held, place, bounds)
    return len(held["x"])


def _array(tensor: Tensor) -> Any:
    """As NumPy; it has no bfloat16."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _which(run: Run, attack: str | None) -> int:
    """The position of the attack in the run; the control is found by its name only."""
    searched = len(run.record["config"]["attacks"])
    if attack is None:
        if searched != 1:
            raise InputError(f"the run has {searched} attacks: say which, {', '.join(run.attacks)}")
        return 0
    names = [spec.partition("(")[0] for spec in run.attacks]
    for listed in (run.attacks, names):
        if listed.count(attack) == 1:
            return listed.index(attack)
    if names.count(attack) > 1:
        raise InputError(f"the run has several {attack}: say which, {', '.join(run.attacks)}")
    raise unknown("attack of this run", attack, names)


def _of_batch(run: Run, number: int, which: int) -> Pairs:
    clean, *rows = run.columns(number)
    found = {"x": run.images(number, None), "x_adversarial": run.images(number, which)}
    labels = clean["y"]
    return found | {"y": labels, "y_adversarial": labels, "ids": clean["sample_ids"], "success": rows[which]["reached"]}


def _write_pngs(pairs: Pairs, home: Path, bounds: tuple[float, float]) -> None:
    """ID-clean.png and ID-adversarial.png of each pair, and a table; the adversarial one rounded toward the clean."""
    if home.exists():
        raise InputError(f"expected a path for a new folder, got {home}, where something is already")
    if pairs["x"].ndim != 4 or pairs["x"].shape[1] not in (1, 3):
        raise InputError(
            f"PNG holds images of 1 or 3 channels, got {tuple(pairs['x'].shape)}: write npz or safetensors"
        )
    home.mkdir(parents=True)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(_pictures(pairs, home, bounds))
    atomic_write(home / INDEX, lambda file: file.write(text.getvalue().encode()))


def _pictures(pairs: Pairs, home: Path, bounds: tuple[float, float]) -> Iterator[tuple[Any, ...]]:
    """Write each pair; the row of the table for it."""
    from PIL import Image

    clean = nearest_level(pairs["x"], bounds).to(torch.uint8)
    levels, fits = toward(pairs["x"], pairs["x_adversarial"], bounds)
    columns = (pairs[name].tolist() for name in ("ids", "y", "success"))
    for n, (number, label, success) in enumerate(zip(*columns, strict=True)):
        names = f"{number:06d}-clean.png", f"{number:06d}-adversarial.png"
        for name, images in zip(names, (clean, levels), strict=True):
            pixels = images[n].permute(1, 2, 0).numpy()
            Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(home / name, "PNG")
        yield number, label, int(success), int(fits[n]), *names
