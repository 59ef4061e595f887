"""Adversarial patches: Brown et al. 2017 (arXiv 1712.09665)."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.parts.placing import Placing, Pose, check_place, check_shape, put_on, side_of
from advkit.attacks.parts.steps import StepAttack
from advkit.attacks.patch.printing import (
    Palette,
    colours_of,
    non_printability_slope,
    seen_by,
    total_variation_slope,
)
from advkit.core.attack import register_attack
from advkit.core.door import check_between, check_flag, check_share
from advkit.core.errors import InputError
from advkit.core.oracle import Oracle
from advkit.core.pixel_range import Bounds, to_unit

LAST = 2**31 - 1
"""The step whose random numbers place the patch that is judged."""


class State(NamedTuple):
    """The images with their patches as they will be judged, and the patches."""

    x_adv: Tensor  # (M, C, H, W)
    patch: Tensor  # (M, C, S, S): of one patch for all, that patch in every row
    length: Tensor  # (M, 1, 1, 1): of a step


@register_attack("patch")
@dataclass(frozen=True, kw_only=True)
class Patch(StepAttack):
    """A patch that misleads wherever it is put on an image: one for the whole batch, or one for each image.

        p <- clamp(p + step_size * sign(mean over images of the gradient of J at the image with p at a random pose))

    At every step each image has the patch in another pose (expectation over transformation). A last, random pose is
    judged. The pixels of the patch take any value in the range and every other pixel stays: eps is infinite by
    default, and `distance` says how far the pixels changed in linf. `find_patch` makes one patch for a data set, which
    also works on images that it has not seen.

    Cost per sample: `steps` gradients and `steps` + 2 queries. No sample leaves early.

    Args:
        size: the area of the patch as a share of the image's; of a circle, that of the square around it.
        shape: "square", "circle", or a mask (S, S) of 0 and 1 that is stretched over the patch.
        place: "random", "centre", "top_left", "top_right", "bottom_left" or "bottom_right".
        rotation: the largest angle in degrees, either way.
        scale: the largest change of the patch's side, as a share of it, either way.
        brightness: largest change of the patch's light, either way, as a share of the range of the pixels.
        shared: True makes one patch for all images of the batch, False one for each image.
        smooth: the weight of the patch's total variation, a mean an entry, beside the loss.
        printable: the weight of the mean distance of the patch's pixels to the nearest printable colour.
        palette: the printable colours: "inks", the path of a file with a colour on each line, or colours from 0 to 1.
        steps: the number of steps.
        step_size: length of a step in units of the pixels; default: .05 of the range.
    """

    norms = ("linf",)
    paper = "Brown et al. 2017, arXiv 1712.09665"
    follows_gradient = False
    per_sample = False
    total_length = 5.0

    eps: float | None = math.inf
    size: float = 0.05
    shape: str | Tensor = "square"
    place: str = "random"
    rotation: float = 0.0
    scale: float = 0.0
    brightness: float = 0.0
    shared: bool = True
    smooth: float = 0.0
    printable: float = 0.0
    palette: Palette = "inks"
    steps: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("size", self.size)
        check_shape(self.shape)
        check_place(self.place)
        for name, most in (("rotation", 180), ("scale", 0.9), ("brightness", 1)):
            check_between(name, getattr(self, name), 0, most)
        check_flag("shared", self.shared)
        for name in ("smooth", "printable"):
            check_between(name, getattr(self, name), 0, math.inf)
        object.__setattr__(self, "palette", _plain(self.palette))
        colours_of(self.palette)
        object.__setattr__(self, "per_sample", not self.shared)

    @property
    def starts_at_x(self) -> bool:
        """No: the model is asked about images with patches."""
        return False

    @property
    def deterministic(self) -> bool:
        """The seed chooses the poses."""
        return False

    @property
    def placing(self) -> Placing:
        """The transformations."""
        return Placing(self.rotation, self.scale, self.brightness, self.place)

    def init(self, oracle: Oracle) -> State:
        """Begin with a grey patch."""
        x = oracle.x
        if x.ndim != 4:
            raise InputError(f"a patch lies on images (N, C, H, W), got images of shape {tuple(x.shape[1:])}")
        side = side_of(self.size, x.shape[2], x.shape[3])
        grey = x.new_full((*x.shape[:2], side, side), sum(oracle.region.bounds) / 2)
        return State(self.judged(oracle, grey), grey, self.length(oracle))

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Up the mean of the gradients at random poses."""
        pose = self.pose(oracle, i, state.patch)
        gradient = oracle.gradient(state.patch, self.loss, lambda patch: self.worn(oracle, patch, pose))
        if self.shared:
            gradient = gradient.mean(0, keepdim=True).expand_as(gradient)
        gradient = gradient - self.blemish(state.patch, oracle.region.bounds)
        patch = (state.patch + state.length * gradient.sign()).clamp(*oracle.region.bounds).to(state.patch.dtype)
        return state._replace(x_adv=self.judged(oracle, patch), patch=patch)

    def pose(self, oracle: Oracle, step: int, patch: Tensor) -> Pose:
        """Draw a pose for each image.

        Args:
            oracle: the oracle that holds the images.
            step: number of the step to which the draws belong.
            patch: patches (M, C, S, S).
        """
        drawn = self.placing.pose(oracle.draws, step, patch)
        return drawn._replace(light=drawn.light * oracle.region.span)

    def blemish(self, patch: Tensor, bounds: Bounds) -> Tensor:
        """Return the gradient of what the patch loses by its total variation and its unprintable colours, or 0.

        Args:
            patch: patches (M, C, S, S).
            bounds: the range of the pixels.
        """
        own, slope = to_unit(patch[:1] if self.shared else patch, bounds), patch.new_zeros(1)
        if self.smooth:
            slope = slope + self.smooth * total_variation_slope(own)
        if self.printable:
            colours = seen_by(colours_of(self.palette), own)
            slope = slope + self.printable * non_printability_slope(own, colours)
        return slope / (bounds[1] - bounds[0])

    def worn(self, oracle: Oracle, patch: Tensor, pose: Pose) -> Tensor:
        """Return the images (M, C, H, W) with their patches (M, C, S, S) in these poses, within range and eps.

        The gradient goes through as if nothing were cut off: a patch of one grey would not move away from it otherwise.

        Args:
            oracle: the oracle that holds the images.
            patch: patches (M, C, S, S).
            pose: pose of each patch.
        """
        shown, _ = put_on(oracle.x, patch, pose, self.shape)
        return shown + (shown.clamp(oracle.region.low, oracle.region.high) - shown).detach()

    def judged(self, oracle: Oracle, patch: Tensor) -> Tensor:
        """Return the images (M, C, H, W) with their patches in the pose that counts.

        Args:
            oracle: the oracle that holds the images.
            patch: patches (M, C, S, S).
        """
        shown, _ = put_on(oracle.x, patch, self.pose(oracle, LAST, patch), self.shape)
        return shown.clamp(oracle.region.low, oracle.region.high)

    def length(self, oracle: Oracle) -> Tensor:
        """(M, 1, 1, 1): that of a step."""
        step = 0.05 * oracle.region.span if self.step_size is None else self.step_size
        length = torch.full_like(oracle.region.eps, step)
        return length.to(torch.promote_types(oracle.x.dtype, torch.float32))


def _plain(palette: Palette) -> Palette:
    """Lists as tuples, so that attacks can be compared and written as specs."""
    if isinstance(palette, str | Tensor):
        return palette
    try:
        return tuple(tuple(colour) for colour in palette)
    except TypeError:
        return palette
