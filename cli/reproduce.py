"""`advkit reproduce`: the list of reproductions, or one of them."""

import json
from pathlib import Path

import click
import torch

from advkit._version import __version__
from advkit.cli._console import progress_bar, show, table
from advkit.cli._workers import cores
from advkit.core.errors import InputError
from advkit.reproduction import list_reproductions, reproduce
from advkit.reproduction.study import declared


def run(
    name: str | None,
    budget: str,
    seeds: int,
    output: Path | None,
    workers: int | None,
    device: str,
    data: str | None,
    model: str | None,
    weights: str | None,
    as_json: bool,
) -> None:
    """Do what the command says."""
    if name is None:
        if output is not None or as_json or data or model or weights:
            raise InputError(
                "--output, --data, --model and --json go with the name of a reproduction: advkit reproduce lists them"
            )
        print_list(budget)
        return
    if workers is None:
        workers = 1 if device != "cpu" and torch.cuda.is_available() else cores()
    with progress_bar(name, "parts") as progress:
        found = reproduce(
            name,
            budget=budget,
            seeds=seeds,
            output=output,
            workers=workers,
            device=device,
            data=data,
            model=model,
            weights=weights,
            progress=progress,
        )
    if as_json:
        click.echo(json.dumps({**found.to_dict(), "version": __version__}, allow_nan=False))
    else:
        click.echo(str(found))


def print_list(budget: str) -> None:
    """Print a line for each reproduction."""
    listed = table("name", "what", "networks", "claims", "paper", right=("networks", "claims"), text=("what", "paper"))
    for name in list_reproductions():
        study = declared(name, budget)
        listed.add_row(name, study.title, str(len(study.trainings)), str(len(study.claims)), study.paper)
    show(listed)
    click.echo("advkit reproduce NAME runs one; networks are those of one seed.")
