"""`advkit visualize correspondence`: whether the same parts of different objects are related."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from advkit.cli._picture import check_place
from advkit.cli.visualize._scene import Scene, last_hidden, last_maps, scene
from advkit.core.errors import InputError, unknown
from advkit.data import Dataset
from advkit.figures import correspondence_sheet
from advkit.insight import convolutions, correspondence, find_layer
from advkit.insight.correspondence import Box, check_parts

COLUMNS = ("image", "part", "top", "left", "bottom", "right")
Parts = dict[str, list[Box]]


def run(
    given: tuple[str, ...],
    file: Path | None,
    label: str | None,
    layers: tuple[str, ...],
    random: int,
    value: float,
    count: int,
    output: Path | None,
    model: str,
    **options: Any,
) -> None:
    """Do what the command says."""
    place = check_place(output, "advkit-correspondence.png")
    if bool(given) == (file is not None):
        raise InputError("give --part NAME=TOP,LEFT,BOTTOM,RIGHT for every image, or --parts FILE, and not both")
    first = options.pop("first")
    seen = scene(model, count=1, **options)
    if file is None:
        rows = of_class(seen.data, label)[first : first + count]
        parts = {name: [box] * len(rows) for name, box in map(parsed, given)}
    else:
        rows, parts = read_parts(file, seen.data)
    check_parts(parts, len(rows), (seen.data.input_shape[1], seen.data.input_shape[2]))
    seen = shown(seen, rows)
    names = layers or default_layers(seen)
    for name in names:
        find_layer(seen.classifier, name)
    found = [
        correspondence(seen.classifier, seen.x, parts, layer=name, value=value, random=random, seed=seen.seed)
        for name in names
    ]
    correspondence_sheet(
        seen.x.cpu(), parts, found, labels=seen.labels, value=value, title=seen.title, data=seen.source, path=place
    )
    for one in found:
        for name, mean, rank in zip(one.names, one.mean.tolist(), one.rank.tolist(), strict=True):
            beside = f"; {rank} of {random} sets of random boxes are as alike (their mean {one.random_mean.mean():.4f})"
            click.echo(f"{one.layer}, {name}: distance {mean:.4f}{beside if random else ''}")
    click.echo(f"Picture: {place} ({len(rows)} images, {len(parts)} parts, {len(found)} layers)")


def shown(seen: Scene, rows: list[int]) -> Scene:
    """Return the scene with these images."""
    index = torch.tensor(rows)
    x, y = seen.data[index]
    return replace(seen, rows=index, x=x.to(seen.x), y=y)


def default_layers(seen: Scene) -> tuple[str, ...]:
    """Return the last convolution, if there is one, and the last layer before the logits."""
    last = (last_maps(seen),) if convolutions(seen.classifier) else ()
    return tuple(dict.fromkeys((*last, last_hidden(seen.classifier))))


def of_class(data: Dataset, label: str | None) -> list[int]:
    """Return numbers of the images of a class, given by its name; by default of the first class.

    Raises:
        InputError: no such class.
    """
    name = data.classes[0] if label is None else label
    if name not in data.classes:
        raise unknown(f"class of {data.name}", name, data.classes)
    return (data.labels == data.classes.index(name)).nonzero()[:, 0].tolist()


def parsed(text: str) -> tuple[str, Box]:
    """ "nose=10,12,20,30" -> name and box.

    Raises:
        InputError: another form.
    """
    name, _, numbers = text.partition("=")
    cells = numbers.split(",")
    if not name or len(cells) != 4 or not all(cell.strip().isdecimal() for cell in cells):
        raise InputError(f"--part: expected NAME=TOP,LEFT,BOTTOM,RIGHT in whole pixels, got {text!r}")
    top, left, bottom, right = map(int, cells)
    return name, (top, left, bottom, right)


def read_parts(file: Path, data: Dataset) -> tuple[list[int], Parts]:
    """Return numbers of the images and the boxes of the parts in each, from a table.

    Raises:
        InputError: a file that cannot be read, columns or cells of another form, an image that the data set has not, or
            a part that an image lacks.
    """
    lines = table_of(file)
    boxes: dict[str, dict[int, Box]] = {}
    rows: list[int] = []
    for number, line in enumerate(lines, 2):
        cells = [line[name] for name in COLUMNS[2:]]
        if not all(cell.isdecimal() for cell in cells):
            raise InputError(f"{file}, line {number}: expected top, left, bottom, right in whole pixels, got {cells}")
        row = row_of(line["image"], data, f"{file}, line {number}")
        rows += [row] if row not in rows else []
        top, left, bottom, right = map(int, cells)
        if boxes.setdefault(line["part"], {}).setdefault(row, (top, left, bottom, right)) != (top, left, bottom, right):
            raise InputError(f"{file}, line {number}: part {line['part']!r} of image {line['image']} appears twice")
    for part, known in boxes.items():
        missing = [row for row in rows if row not in known]
        if missing:
            raise InputError(f"{file}: expected every part in every image; image {missing[0]} has no part {part!r}")
    return rows, {part: [known[row] for row in rows] for part, known in boxes.items()}


def table_of(file: Path) -> list[dict[str, str]]:
    """Return the lines of a CSV file that has the columns image, part, top, left, bottom, right.

    Raises:
        InputError: a file that cannot be read, or another form.
    """
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            lines = list(csv.reader(opened))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {file} as a table: {error}") from error
    header = [cell.strip() for cell in lines[0]] if lines else []
    if sorted(header) != sorted(COLUMNS):
        raise InputError(f"{file}: expected the columns {','.join(COLUMNS)}, got {','.join(header) or 'none'}")
    found = []
    for number, line in enumerate(lines[1:], 2):
        if any(cell.strip() for cell in line):
            if len(line) != len(header):
                raise InputError(f"{file}, line {number}: expected {len(header)} cells, got {len(line)}")
            found.append({name: cell.strip() for name, cell in zip(header, line, strict=True)})
    return found


def row_of(image: str, data: Dataset, place: str) -> int:
    """Return the number of an image, given by its number or by the end of its file's path.

    Raises:
        InputError: no such image, or several.
    """
    if image.isdecimal() and int(image) < len(data):
        return int(image)
    wanted = Path(image).parts
    files = getattr(data, "files", [])
    found = [row for row, path in enumerate(files) if wanted and Path(path).parts[-len(wanted) :] == wanted]
    if len(found) != 1:
        raise InputError(
            f"{place}: expected the number of an image below {len(data)} or the end of the path of one "
            f"file, got {image!r}, which fits {len(found)} files"
        )
    return found[0]
