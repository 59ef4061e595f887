"""ReColorAdv: Laidlaw and Feizi 2019, Functional adversarial attacks, section 3 (arXiv 1906.00001)."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from advkit.attacks.colour.luv import to_luv, to_rgb
from advkit.attacks.parts.rendered import RenderedAttack, State
from advkit.core.attack import register_attack
from advkit.core.door import check_between, check_count, check_positive
from advkit.core.errors import InputError
from advkit.core.oracle import Oracle
from advkit.core.pixel_range import Bounds, to_unit
from advkit.core.threat import Region
from advkit.models.spatial_transformer import precise


@register_attack("colour")
@dataclass(frozen=True, kw_only=True)
class Colour(RenderedAttack):
    """One function of colour for all pixels of an image: equal colours stay equal.

    The function is a table over the space of colours with `table` values along each axis, linear in between, that says
    by how much a colour moves, at most by `reach` along each axis. Steps go along the sign of the loss's gradient by
    the table. Images of three channels are sRGB, and their colours are in CIELUV; of one or two channels, the values
    themselves. Black and white are the ends of `bounds`.

    `Result.size` is the largest move of a pixel's colour along an axis. The threat is no lp ball: eps is infinite by
    default; with an eps, images are brought into the ball as well.

    Cost per sample: `steps` gradients and `steps` + 2 queries.

    Args:
        steps: number of steps.
        reach: largest move of a colour along each axis, as a share of the axis.
        table: number of values of the table along each axis.
        step_size: length of a step of the table's values; default: 2.5 * reach / steps.
    """

    paper = "Laidlaw and Feizi 2019, arXiv 1906.00001"
    measures = "largest move of a pixel's colour along an axis of the space of colours, as a share of the axis"

    reach: float = 0.06
    table: int = 16
    step_size: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("reach", self.reach, 0, 1)
        check_count("table", self.table, least=2)
        check_positive("step_size", self.step_size, optional=True)

    def at_rest(self, oracle: Oracle) -> tuple[Tensor, None]:
        """Return a table of zeros (M, C, n, n, n), with one value along the missing axes."""
        x = oracle.x
        if x.ndim != 4 or x.shape[1] > 3:
            raise InputError(
                f"colour needs images (N, C, H, W) of one to three channels, got images of shape {tuple(x.shape[1:])}"
            )
        axes = [self.table if axis < x.shape[1] else 1 for axis in (2, 1, 0)]
        return precise(x).new_zeros(len(x), x.shape[1], *axes), None

    def render(self, region: Region, theta: Tensor) -> Tensor:
        """Return the image whose colours have moved as the table theta says."""
        colours = colours_of(region.x, region.bounds)
        moved = pixels_of(colours + looked_up(theta, colours)) - pixels_of(colours)  # the way there and back rounds
        return region.x + (region.span * moved).to(region.x.dtype)

    def size(self, region: Region, theta: Tensor) -> Tensor:
        """Return the largest move that a pixel has made."""
        return looked_up(theta, colours_of(region.x, region.bounds)).flatten(1).abs().amax(1).double()

    def move(self, oracle: Oracle, state: State, slope: Tensor) -> tuple[Tensor, None]:
        """Take a step of every value."""
        length = 2.5 * self.reach / self.steps if self.step_size is None else self.step_size
        return (state.theta + length * slope.sign()).clamp(-self.reach, self.reach), None


def colours_of(x: Tensor, bounds: Bounds = (0, 1)) -> Tensor:
    """(M, C, H, W) within bounds: the place of each pixel in the space of colours."""
    x = to_unit(precise(x), bounds)
    return to_luv(x) if x.shape[1] == 3 else x


def pixels_of(colours: Tensor) -> Tensor:
    """Return the inverse colours."""
    return to_rgb(colours) if colours.shape[1] == 3 else colours.clamp(0, 1)


def looked_up(table: Tensor, colours: Tensor) -> Tensor:
    """(M, C, H, W): the values of the table (M, C, n, n, n) at the colours (M, C, H, W), linear in between."""
    missing = 3 - colours.shape[1]
    places = F.pad(2 * colours - 1, (0, 0, 0, 0, 0, missing)).permute(0, 2, 3, 1)[:, None]  # (M, 1, H, W, 3)
    return F.grid_sample(table, places, padding_mode="border", align_corners=True).squeeze(2)
