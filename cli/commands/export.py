"""`advkit export`: its options."""

from typing import Any

import click

from advkit.cli._perform import perform


@click.command()
@click.argument("run")
@click.argument("path", required=False)
@click.option("--attack", metavar="NAME", help="Attack of the run whose images are written. [its only one]")
@click.option("--tensorboard", metavar="DIR", help="Write the errors of the run as scalars into this folder of logs.")
@click.option("--step", type=int, default=0, show_default=True, help="Step of the scalars, such as the epoch.")
def command(**options: Any) -> None:
    """Write the adversarial images of a run with their clean images, or its errors for TensorBoard.

    PATH is FILE.npz, FILE.safetensors, or a folder for PNG files.

    \b
    advkit export runs/lenet5 pairs.npz --attack pgd
    advkit export runs/lenet5 --tensorboard logs --step 12
    """
    perform("export", options)
