"""`advkit data`: the data sets with place and size; one of them in detail, with a download."""

import json
from pathlib import Path
from typing import Any

import click

from advkit.cli._console import say, show, table
from advkit.core.errors import InputError
from advkit.core.words import cause
from advkit.data import (
    DATASETS,
    FORMS,
    Dataset,
    ImageFiles,
    MissingDataError,
    SplitFacts,
    inventory,
    load_data,
    matching,
    of_your_own,
    places,
    registered,
    size_on_disk,
    splits,
)
from advkit.data import data_root as folder_of_data


def run(pattern: str, data_root: str | None, download: bool, check: bool, as_json: bool) -> None:
    """Do what the command says."""
    names = matching(pattern)
    one = names == [pattern]
    if (download or check) and not one:
        raise InputError(f"--download and --check are for one data set, got {pattern!r}: give its name")
    if download and registered(pattern) in ("folder", "npz", "csv"):
        raise InputError(f"--download gets a published data set, and {pattern} is your own: leave the option away")
    if download:
        for split in wanted(pattern):
            load_data(pattern, split=split, root=data_root, download=True)
    found = {name: look(name, data_root) for name in names}
    if as_json:
        click.echo(json.dumps(found))
    elif one:
        tell(pattern, found[pattern])
    else:
        tell_all(found, data_root)
    if one and "problem" in found[pattern]:
        raise InputError(found[pattern]["problem"])
    if check:
        check_images(pattern, list(found[pattern]["splits"]), data_root, quiet=as_json)


def wanted(name: str) -> list[str]:
    """Return the splits to download: all but rarely used ones."""
    return [split for split in splits(name) if split != "extra"]


def look(name: str, root: str | None) -> dict[str, Any]:
    """Return the state of one data set as plain values; `problem` says why it cannot be read."""
    facts: list[SplitFacts] = []
    missing, broken = "", ""
    refused: dict[str, Exception] = {}
    try:
        parts = splits(name)
    except InputError as error:
        parts, broken = [], str(error)
    for split in parts:
        try:
            facts.append(inventory(name, split, root)[0])
        except MissingDataError as error:
            missing = missing or str(error)
        except InputError as error:
            broken = broken or (f"split {split}: {error}" if of_your_own(name) and len(parts) > 1 else str(error))
        except Exception as error:
            if registered(name) != "factory":
                raise
            refused[split] = error  # the user's function may not have it
    if refused and not facts and not broken:
        raise next(iter(refused.values()))
    here = places(name, root)
    known: dict[str, Any] = {
        "here": "broken" if broken else "yes" if facts else "no",
        "about": about(name),
        "where": [str(path) for path in here],
        "bytes": size_on_disk(here),  # walks through every file of the set
        "splits": {fact.split: plain(fact) for fact in facts},
        "classes": list(facts[0].classes) if facts else [],
    }
    if refused:
        known["refused"] = {split: cause(error) for split, error in refused.items()}
    problem = broken or ("" if facts else missing)
    return {**known, "problem": problem} if problem else known


def plain(fact: SplitFacts) -> dict[str, Any]:
    """Return a split's facts for JSON."""
    shape = None if fact.input_shape is None else list(fact.input_shape)
    counts = list(fact.per_class)
    return {"images": fact.images, "published": fact.published, "input_shape": shape, "per_class": counts}


def about(name: str) -> str:
    """Return the first sentence of the data set's documentation."""
    return (DATASETS.factory(registered(name)).__doc__ or "").strip().splitlines()[0].rstrip(".")


def tell_all(found: dict[str, dict[str, Any]], root: str | None) -> None:
    """Print the table of the data sets."""
    right = ("test images", "train images", "classes", "on disk")
    listed = table("data set", "here", *right[:2], "image", *right[2:], "what it is", right=right, text=("what it is",))
    for name, facts in found.items():
        images = {split: f"{part['images']:,}" for split, part in facts["splits"].items()}
        shapes = [part["input_shape"] for part in facts["splits"].values()]
        shape = "x".join(map(str, shapes[0])) if shapes else ""
        classes = str(len(facts["classes"]) or "")
        size = megabytes(facts["bytes"]) if facts["bytes"] else ""
        row = (facts["here"], images.get("test", ""), images.get("train", ""), shape, classes, size, facts["about"])
        listed.add_row(name, *row)
    for form in FORMS:
        listed.add_row(form, "", "", "", "", "", "", about(form))
    show(listed)
    for name, facts in found.items():
        if facts["here"] == "broken":
            say(f"{name}: {facts['problem']}")
    say(f"Looked for under {folder_of_data(root)}; --data-root or $ADVKIT_DATA give another folder.")
    say("One closely: advkit data NAME. Nothing is downloaded unless asked: advkit data NAME --download.")


def tell(name: str, facts: dict[str, Any]) -> None:
    """Print one data set: its place, splits and classes."""
    say(f"{name}: {facts['about']}")
    if facts["where"]:
        say(f"Where: {', '.join(facts['where'])} ({megabytes(facts['bytes'])})")
    for split, part in facts["splits"].items():
        counts = [count for count in part["per_class"] if count]
        spread = f"{min(counts):,} to {max(counts):,}" if min(counts) < max(counts) else f"{counts[0]:,}"
        shape = " of " + "x".join(map(str, part["input_shape"])) if part["input_shape"] else ""
        absent = len(part["per_class"]) - len(counts)
        more = f", no image of {absent} classes" if absent else ""
        short = part["published"] is not None and part["published"] != part["images"]
        warning = f"; published are {part['published']:,}" if short else ""
        say(f"Split {split}: {part['images']:,} images{shape}, {spread} a class{more}{warning}")
    for split, reason in facts.get("refused", {}).items():
        say(f"Split {split}: refused by your function ({reason})")
    present = {label for part in facts["splits"].values() for label, count in enumerate(part["per_class"]) if count}
    if present:
        names = ", ".join(facts["classes"][label] for label in sorted(present))
        say(f"Classes ({len(facts['classes'])}): {names}")


def megabytes(count: int) -> str:
    """54,950,048 -> "55 MB", 5,200 -> "5 kB"."""
    if count < 95_000:
        return f"{count / 1e3:.0f} kB" if count >= 950 else f"{count} bytes"
    return f"{count / 1e6:.0f} MB" if count >= 9.5e6 else f"{count / 1e6:.1f} MB"


def check_images(name: str, parts: list[str], root: str | None, *, quiet: bool) -> None:
    """Read every image of these splits.

    Raises:
        InputError: files cannot be read; all of them are listed on standard error.
    """
    read, broken = 0, list[tuple[Path, str]]()
    for split in parts:
        data = inventory(name, split, root)[1]
        broken += list(data.broken()) if isinstance(data, ImageFiles) else read_all(data)
        read += len(data)
    for file, reason in broken:
        click.echo(f"{file}: {reason}", err=True)
    if broken:
        raise InputError(f"{len(broken)} of {read} files cannot be read as images: mend or remove them")
    if not quiet:
        say(f"Read all {read:,} images: none is broken.")


def read_all(data: Dataset) -> list[tuple[Path, str]]:
    """Read a set that is one file or is made on the fly; a broken file would not have opened."""
    for _ in data.batches(500):
        pass
    return []
