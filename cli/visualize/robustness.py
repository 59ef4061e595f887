"""`advkit visualize robustness`: answers to the same photographs tilted, dark, blurred and with a cast."""

from pathlib import Path
from typing import Any

import click
from torch import Tensor
from torch.nn import functional as F

from advkit.cli._picture import check_place
from advkit.cli.visualize._scene import Scene, scene
from advkit.core.classify import classify
from advkit.figures import answers_sheet

TILT, DARK, BLUR, CAST = 20.0, 0.4, 1 / 64, (1.35, 0.85, 0.75)
"""Degrees, factor of the brightness, standard deviation in sides of the image, factors of red, green and blue."""


def run(output: Path | None, model: str, **options: Any) -> None:
    """Do what the command says."""
    place = check_place(output, "advkit-robustness.png")
    seen = scene(model, **options)
    rows = [(name, x.cpu(), classify(seen.classifier, x).cpu()) for name, x in distorted(seen)]
    cast = ", red x 1.35 with green x .85 and blue x .75" if seen.x.shape[1] == 3 else ""
    data = f"{seen.source}; tilt by 20 degrees, brightness x .4, Gaussian blur of sd 1/64 of the side{cast}"
    answers_sheet(rows, y=seen.true, classes=seen.classes, turned=True, title=seen.title, data=data, path=place)
    for name, _, logits in rows:
        known = [(t, g) for t, g in zip(seen.true, logits.argmax(1).tolist(), strict=True) if t is not None]
        click.echo(f"{name}: {sum(t == g for t, g in known)} of {len(known)} right")
    click.echo(f"Picture: {place} ({len(seen.x)} images)")


def distorted(seen: Scene) -> list[tuple[str, Tensor]]:
    """Return the images and their distortions by name; the cast needs colours."""
    x = seen.x
    rows = [
        ("original", x),
        ("tilted", tilted(x, TILT)),
        ("dark", x * DARK),
        ("blurred", blurred(x, x.shape[-1] * BLUR)),
    ]
    if x.shape[1] == 3:
        rows.append(("cast", (x * x.new_tensor(CAST).view(3, 1, 1)).clamp(0, 1)))
    return rows


def tilted(x: Tensor, degrees: float) -> Tensor:
    """Turn images (N, C, H, W) about their centre, bilinearly; the border is mirrored."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2.functional import rotate

    margin = max(min(max(x.shape[2:]) // 4, min(x.shape[2:]) - 1), 1)
    padded = F.pad(x, (margin,) * 4, mode="reflect")
    turned: Tensor = rotate(padded, degrees, interpolation=InterpolationMode.BILINEAR)
    return turned[..., margin:-margin, margin:-margin]


def blurred(x: Tensor, sd: float) -> Tensor:
    """Blur images (N, C, H, W) with a Gaussian of this standard deviation in pixels."""
    from torchvision.transforms.v2.functional import gaussian_blur

    side = 2 * max(round(3 * sd), 1) + 1
    soft: Tensor = gaussian_blur(x, [side, side], [sd, sd])
    return soft
