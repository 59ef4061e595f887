"""One patch found on a data set, batch by batch, and put on any image: see `Patch` (arXiv 1712.09665)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from advkit.attacks.parts.on_data import Watch, check_gradients
from advkit.attacks.parts.placing import Placing, put_on, side_of
from advkit.attacks.parts.stepless import Stepless
from advkit.attacks.patch.patch import Patch, State
from advkit.attacks.patch.printing import colours_of, seen_by, strayed, total_variation
from advkit.core import door
from advkit.core.door import check_count
from advkit.core.draws import Draws
from advkit.core.driver import last_point
from advkit.core.errors import InputError
from advkit.core.guard import Model
from advkit.core.oracle import Oracle
from advkit.core.pixel_range import Bounds, to_unit
from advkit.data._any_data import as_data
from advkit.data._stream import Batch, batches, how_many
from advkit.evaluation.measure.aims import aim_at, one_class
from advkit.evaluation.measure.eight_bit import nearest_level


@dataclass(frozen=True, kw_only=True)
class AdversarialPatch(Stepless, Patch):
    """A patch that is known already, put on every image in a random pose. What `find_patch` returns.

    It covers the share `size` of the area of any image: on images of another size than those on which it was found,
    and at another `size`, it is scaled.

    Cost per sample: 2 queries, the second being the verdict, and no gradient.

    Args:
        patch: the pixels of the patch (C, S, S).
        bounds: range of the pixels, those of the images on which the patch is put.
    """

    name = "adversarial_patch"
    knowledge = "nothing"
    total_steps = 0

    patch: Tensor = field(compare=False, repr=False)
    bounds: Bounds = (0, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "bounds", door.check_bounds(self.bounds))
        if not isinstance(self.patch, Tensor) or self.patch.ndim != 3 or self.patch.shape[1] != self.patch.shape[2]:
            raise InputError("expected patch as a tensor (C, S, S)")
        object.__setattr__(self, "per_sample", True)

    @property
    def spec(self) -> str:
        """The Python expression, since tensors have no place in a spec."""
        return f"adversarial_patch(size={self.size}, place={self.place})"

    def init(self, oracle: Oracle) -> State:
        """Return the images with the patch."""
        x = oracle.x
        if x.ndim != 4 or x.shape[1] != len(self.patch):
            raise InputError(f"the patch is of shape {tuple(self.patch.shape)}, the images {tuple(x.shape[1:])}")
        if oracle.region.bounds != self.bounds:
            raise InputError(
                f"the patch has pixels in {self.bounds}, the images in {oracle.region.bounds}: give bounds="
            )
        patch = scaled(self.patch[None].to(x), side_of(self.size, x.shape[2], x.shape[3])).expand(len(x), -1, -1, -1)
        return State(self.judged(oracle, patch), patch, self.length(oracle))

    def save(self, path: str | Path) -> None:
        """Write the patch as a PNG, what its shape leaves out transparent, at its own size in pixels.

        Args:
            path: the file to write, a PNG.
        """
        from PIL import Image  # only a picture needs it

        channels, side = self.patch.shape[:2]
        if channels not in (1, 3):
            raise InputError(f"a picture has 1 or 3 channels, the patch has {channels}")
        colours = nearest_level(self.patch.detach().cpu().float(), self.bounds).byte().expand(3, side, side)
        pixels = torch.cat([colours, self.covered()[None].byte() * 255]).permute(1, 2, 0).numpy()
        Image.fromarray(pixels, "RGBA").save(path)

    def covered(self) -> Tensor:
        """Return (S, S) bool: the pixels that the shape keeps."""
        side = self.patch.shape[1]
        blank = torch.zeros(1, 1, side, side, device="cpu")
        still = Placing(0, 0, 0, "centre").pose(Draws(0, torch.zeros(1, dtype=torch.int64, device="cpu")), 0, blank)
        return put_on(blank, blank, still, self.shape)[1][0, 0]

    @property
    def non_printability(self) -> float:
        """The mean distance of its pixels to the nearest colour of `palette`, as a share of the range of the pixels."""
        patch = to_unit(self.patch[None].detach().cpu().float(), self.bounds)
        way = strayed(patch, seen_by(colours_of(self.palette), patch)).norm(dim=1)[0]
        return float(way[self.covered()].mean())

    @property
    def total_variation(self) -> float:
        """The mean squared difference of neighbours, of columns and of rows together; pixels in [0, 1]."""
        return float(total_variation(to_unit(self.patch[None].detach().cpu().double(), self.bounds)))


def scaled(patch: Tensor, side: int) -> Tensor:
    """Return the patches (M, C, S, S) with another side, to the bit the same if it is theirs."""
    if patch.shape[3] == side:
        return patch
    wide = patch.to(torch.promote_types(patch.dtype, torch.float32))
    return F.interpolate(wide, (side, side), mode="bilinear", antialias=True).to(patch.dtype)


@dataclass(frozen=True, kw_only=True)
class _Learner(Patch):
    """One step on one batch, from a patch on, which is kept for the next batch."""

    held: list[Tensor] = field(default_factory=list)
    watch: Watch = field(default_factory=Watch)
    first: int = 0

    def init(self, oracle: Oracle) -> State:
        state = super().init(oracle)
        return state._replace(patch=self.held[0].to(oracle.x).expand_as(state.patch)) if self.held else state

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        state = super().step(self.watch.over(oracle), state, self.first + i)
        self.held[:] = [state.patch[0].detach().clone()]
        return state

    def learn(self, model: Model, batch: Batch, bounds: tuple[float, float], seed: int) -> None:
        """One pass there and back: nothing is judged."""
        problem = self._problem(model, batch.x, batch.y, None, None, batch.sample_ids, seed, bounds, "never")
        last_point(self, model, problem)


def find_patch(
    model: Model,
    data: Any,
    *,
    epochs: int = 10,
    batch_size: int = 100,
    count: int | None = None,
    seed: int = 0,
    bounds: tuple[float, float] = (0, 1),
    **options: Any,
) -> AdversarialPatch:
    """Find a patch that misleads a model on most images of a data set at any place, as an attack that puts it on.

        attack = find_patch(model, load_data("mnist5k", split="train"), size=0.05, target=3)
        print(evaluate(model, load_data("mnist5k"), [attack]).adversarial_error)
        attack.save("patch.png")

    Cost per image and epoch: one query and one gradient.

    Args:
        model: images (N, C, H, W) -> logits.
        data: a Dataset, a DataLoader or a pair of tensors (x, y), see `evaluate`.
        epochs: number of passes over the images.
        batch_size: number of images in each step.
        count: number of images to use; default: all.
        seed: seed of the poses.
        bounds: the range of the pixels.
        **options: hyperparameters of `Patch`, such as `size`, `shape` and `rotation`. `target` may be the name that the
            data give a class.

    Raises:
        InputError: a value that is refused, another kind of data, or a model that shows no gradients.

    Warns:
        AdvkitWarning: most gradients were exactly zero.
    """
    check_gradients(model, "patches")
    epochs, seed = check_count("epochs", epochs), door.check_seed(seed)
    batch_size, count = how_many(batch_size, count)
    data = as_data(data, batch_size=batch_size, count=count)
    options = {**options, "shared": True}
    if "target" in options:
        options["target"] = one_class(aim_at(options["target"], data), "patch")
    held, watch = list[Tensor](), Watch()
    step = 0
    for _ in range(epochs):
        for batch in batches(data, batch_size=batch_size, count=count):
            learner = _Learner(**{**options, "steps": 1}, held=held, watch=watch, first=step)
            learner.learn(model, batch, bounds, seed)
            step += 1
    if not held:
        raise InputError("expected data with at least one image")
    watch.remark()
    door.check_images(held[0][None], bounds)
    return AdversarialPatch(patch=held[0], bounds=bounds, **options)
