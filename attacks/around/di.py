"""DI, diverse inputs: Xie et al. 2018, section 3.3 (arXiv 1803.06978)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor

from advkit.attacks.around.gradient import Bent, GradientTransform, then
from advkit.core.attack import ATTACKS, Attack
from advkit.core.door import check_between
from advkit.core.joint_passes import View
from advkit.core.losses import Loss, Values
from advkit.core.option_names import outer
from advkit.core.oracle import Oracle
from advkit.core.pixel_range import onto

LEAST = 0.9
"""The least size of the image that is pasted, as a share of the frame: the paper's 299 of 330."""

STREAM = 200
"""First stream of random numbers; each further call within one step uses the next stream."""


@dataclass(frozen=True, kw_only=True)
class DI(GradientTransform):
    """The gradient at the image after a random change of size: shrunk to .9 of its size or more, pasted at random.

    Each sample has its own size and place at every step. The frame is the image's own and black, the lower end of
    `bounds`. The paper enlarges images of 299 pixels to a frame of 330, which networks of one input size do not take.

    Cost: that of the attack inside. No sample leaves early, for the image itself is seen at the verdict only.

    Args:
        probability: probability that an image is transformed, in (0, 1].
    """

    option = "di"
    images = True

    probability: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("di", self.probability, 0, 1)

    @property
    def deterministic(self) -> bool:
        """False: the seed chooses sizes and places."""
        return False

    @property
    def spec(self) -> str:
        """The spec of the attack inside, with di=."""
        return self._with("di", self.probability)

    def _bend(self, oracle: Oracle, i: int) -> Oracle:
        calls = count()

        def pasted(through: View | None) -> View:
            numbers = oracle.draws.uniform(i, (4,), stream=STREAM + next(calls))
            return then(
                through,
                lambda seen: onto(
                    oracle.region.lowest, seen, partial(_paste, numbers=numbers, probability=self.probability)
                ),
            )

        def look(x: Tensor, loss: str | Loss, through: View | None) -> tuple[Values, Tensor]:
            return oracle.look(x, loss, pasted(through))

        def looks(x: Tensor, loss: str | Loss, views: Sequence[View | None]) -> Iterator[tuple[Values, Tensor]]:
            return oracle.looks(x, loss, [pasted(view) for view in views])

        return Bent(oracle, look, looks)  # type: ignore[return-value]


def _paste(x: Tensor, numbers: Tensor, probability: float) -> Tensor:
    """x (N, C, H, W), each shrunk and moved as its numbers (N, 4) in [0, 1) say, or left as it is."""
    coin, size, right, down = numbers.to(x.dtype).unbind(1)
    scale = 1 / (LEAST + (1 - LEAST) * size)
    play = scale - 1  # how far the smaller image may move in its frame, in its own half-widths
    rows = (
        torch.stack([scale, 0 * scale, play * (2 * right - 1)], 1),
        torch.stack([0 * scale, scale, play * (2 * down - 1)], 1),
    )
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    pasted = F.grid_sample(x, grid, align_corners=False)
    return torch.where((coin < probability).view(-1, 1, 1, 1), pasted, x)


@ATTACKS.wrapper("di", rank=6)
@outer
def di(attack: Attack, probability: float) -> Attack:
    """Give an attack diverse inputs, see `DI`: `di(MIFGSM(eps=8/255), 0.5)`; at 0 the attack itself.

    Args:
        attack: a budget attack whose steps follow the gradient.
        probability: probability that an image is transformed, in [0, 1].

    Raises:
        InputError: the attack's steps do not follow the gradient only, or the number is no probability.
    """
    check_between("di", probability, 0, 1)
    return DI(attack=attack, probability=probability) if probability else attack
