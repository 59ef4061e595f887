"""`advkit export`: the images and the errors of a run, for other programs."""

from advkit.cli._console import say
from advkit.core.errors import InputError
from advkit.evaluation import load_run
from advkit.evaluation.interchange import export_images, to_tensorboard


def run(run: str, path: str | None, attack: str | None, tensorboard: str | None, step: int) -> None:
    """Do what the command says."""
    if path is None and tensorboard is None:
        raise InputError("say where to: FILE.npz, FILE.safetensors, a folder for PNG files, or --tensorboard DIR")
    if path is None and attack is not None:
        raise InputError("--attack chooses the images that are written: say where to, such as pairs.npz")
    found = load_run(run)
    scalars = None if tensorboard is None else len(to_tensorboard(found, tensorboard, step=step))
    if path is not None:
        say(f"Images: {export_images(found, path, attack=attack):,} pairs in {path}")
    if scalars is not None:
        say(f"Scalars: {scalars} in {tensorboard}")
