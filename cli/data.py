"""`advkit data`: the data sets, and which of them are here."""

import click

from advkit.cli._console import show, table
from advkit.cli._options import shared
from advkit.core.errors import InputError, unknown
from advkit.data import DATASETS, list_datasets, load_data
from advkit.data import data_root as folder_of_data


@click.command()
@click.argument("pattern", default="*")
@shared("data-root")
def command(pattern: str, data_root: str | None) -> None:
    """List the data sets whose names match PATTERN, and look which of them are here."""
    names = list_datasets(pattern)
    if not names:
        raise unknown("data set", pattern, list_datasets())
    listed = table("data set", "here", "test images", "what it is", right=("test images",), text=("what it is",))
    for name in names:
        about = (DATASETS.factory(name).__doc__ or "").strip().splitlines()[0].rstrip(".")
        listed.add_row(name, *_presence(name, data_root), about)
    listed.add_row("folder:PATH", "", "", "Images in one folder a class")
    show(listed)
    click.echo(f"Looked for under {folder_of_data(data_root)}; --data-root or $ADVKIT_DATA give another folder.")
    click.echo("Nothing is downloaded unless asked: advkit attack ... --data NAME --download.")


def _presence(name: str, root: str | None) -> tuple[str, str]:
    """Whether the set is here, and its test images: ("yes", "1,000 of 1x32x32")."""
    try:
        data = load_data(name, root=root)
    except InputError:
        return "no", ""
    shape = "x".join(str(size) for size in data.input_shape)
    return "yes", f"{len(data):,} of {shape}"
