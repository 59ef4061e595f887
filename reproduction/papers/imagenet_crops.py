"""Photographs seen whole, in crops and at several scales by networks that are trained already.

Simonyan, Zisserman 2014: Very deep convolutional networks, section 4, tables 3 to 5 (arXiv 1409.1556).
Szegedy et al. 2014: Going deeper with convolutions, section 7, table 3 (arXiv 1409.4842).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from advkit.core.classify import classify
from advkit.core.errors import InputError
from advkit.data import load_data
from advkit.models import Classifier, load_model
from advkit.reproduction.study import STUDIES, Budget, Cell, Claim, Measured, Pooled, Study, Table, claims
from advkit.training.augment import CropAverage, googlenet_scales

TOP_1, TOP_5 = "top-1 error", "top-5 error"
ONE, TEN, MANY = "one crop", "ten crops", "144 crops"
SHARED = tuple(f"{way}, ensemble" for way in (ONE, TEN, MANY))
WHOLE, SCALES, CROPS, BOTH = "whole, one scale", "whole, three scales", "50 crops, three scales", "whole and crops"
BATCH = 25

CROP_TABLE = Table(
    title="Crops of a photograph, seen by one network and by an ensemble",
    where="Szegedy 2014, table 3",
    checked="in a public copy of the paper's text; the ensemble has seven networks.",
    columns={TOP_1: "percent", TOP_5: "percent"},
    printed={
        row: {TOP_1: None, TOP_5: share}
        for row, share in zip((ONE, TEN, MANY, *SHARED), (0.1007, 0.0915, 0.0789, 0.0809, 0.0762, 0.0667), strict=True)
    },
)

SCALE_TABLE = Table(
    title="Whole photographs and crops, at one scale and at three",
    where="Simonyan 2014, tables 3 to 5",
    checked="network D, trained at scales of 256 to 512, in public copies of the paper's tables, which agree.",
    columns={TOP_1: "percent", TOP_5: "percent"},
    printed={
        WHOLE: {TOP_1: 0.256, TOP_5: 0.081},
        SCALES: {TOP_1: 0.248, TOP_5: 0.075},
        CROPS: {TOP_1: 0.246, TOP_5: 0.075},
        BOTH: {TOP_1: 0.244, TOP_5: 0.072},
    },
)

NEEDS = (
    "imagenet_crops needs labelled photographs and a trained network: give --data folder:PATH (one folder a class, "
    "called by its ImageNet number) and --model, such as torchvision:vgg16 with --weights FILE; the networks of an "
    "ensemble stand with + between them"
)
AND = " + "
"""The text between the networks of an ensemble, and between their weights."""


def scales_of(size: int) -> tuple[int, int, int]:
    """Return the lengths of the shorter side: 256, 384 and 512 for a network of 224 pixels, else in proportion."""
    return round(size * 8 / 7), round(size * 12 / 7), round(size * 16 / 7)


def whole(network: Classifier, x: Tensor, sides: Sequence[int]) -> Tensor:
    """Return the logarithm of the mean probabilities (N, K) of whole photographs and their mirror images.

    Args:
        network: the network.
        x: photographs (N, C, H, W).
        sides: lengths to which the shorter side is resized, one after the other.
    """
    from torchvision.transforms.v2 import functional

    seen = [functional.resize(x, [side], antialias=True).clamp(0, 1) for side in sides]
    views = [view for image in seen for view in (image, functional.horizontal_flip(image))]
    return mixed([classify(network, view).log_softmax(1) for view in views])


def mixed(logs: Sequence[Tensor]) -> Tensor:
    """Return the logarithm of the mean of probabilities, which are given by their logarithms (N, K)."""
    return torch.stack(list(logs)).logsumexp(0) - torch.tensor(float(len(logs))).log()


def size_of(network: Classifier) -> int:
    """Return the side of the images that a network's card names."""
    shape = network.card.input_shape
    if shape is None:
        raise InputError(f"expected a network that names the size of its images: give {network.card.name} input_shape=")
    return int(shape[1])


def cropped(network: Classifier, x: Tensor, crops: int, scales: Sequence[int]) -> Tensor:
    """Return the logarithm of the mean probabilities (N, K) of crops at some scales."""
    average = CropAverage(network, size=size_of(network), crops=crops, scales=scales)
    return classify(average, x).log_softmax(1)


def seen_in_crops(network: Classifier, x: Tensor) -> dict[str, Tensor]:
    """Return the logarithms of the probabilities (N, K) of one, ten and 144 crops of photographs (N, 3, H, W)."""
    size = size_of(network)
    first = scales_of(size)[:1]
    return {
        ONE: cropped(network, x, 1, first),
        TEN: cropped(network, x, 10, first),
        MANY: cropped(network, x, 36, googlenet_scales(size)),
    }


def seen_in_all_ways(network: Classifier, x: Tensor) -> dict[str, Tensor]:
    """Return the logarithms of the probabilities (N, K) of each way to look at photographs (N, 3, H, W)."""
    sides = scales_of(size_of(network))
    found = seen_in_crops(network, x)
    found |= {WHOLE: whole(network, x, sides[1:2]), SCALES: whole(network, x, sides)}
    found[CROPS] = cropped(network, x, 50, sides)
    return found | {BOTH: mixed([found[SCALES], found[CROPS]])}


def seen_by_all(networks: Sequence[Classifier], x: Tensor) -> dict[str, Tensor]:
    """Return what the first network sees in every way, and what all of them see together in crops.

    Args:
        networks: the networks; a single one is no ensemble.
        x: photographs (N, 3, H, W).
    """
    found = seen_in_all_ways(networks[0], x)
    if len(networks) == 1:
        return found
    others = [seen_in_crops(network, x) for network in networks[1:]]
    return found | {
        shared: mixed([found[way], *(other[way] for other in others)])
        for shared, way in zip(SHARED, (ONE, TEN, MANY), strict=True)
    }


def missed(logs: Tensor, y: Tensor, most: int) -> Tensor:
    """Return (N,): 1 where the class is not among the `most` likeliest, else 0.

    Raises:
        InputError: the network has fewer classes than that, or than the labels count.
    """
    needed = max(int(y.max()) + 1, most)
    if logs.shape[1] < needed:
        raise InputError(f"expected a network of {needed} classes or more for these photographs, got {logs.shape[1]}")
    return (logs.topk(most, dim=1).indices != y[:, None]).all(1).double()


def loaded(model: str, weights: str | None) -> list[Classifier]:
    """Load the networks of an ensemble.

    Args:
        model: specs of the networks, with + between them.
        weights: their weights in the same order, with + between them; None: what each name stands for.

    Raises:
        InputError: there are not as many weights as networks.
    """
    names = model.split(AND)
    files = [None] * len(names) if weights is None else weights.split(AND)
    if len(files) != len(names):
        raise InputError(f"expected weights for each of the {len(names)} networks, got {len(files)}")
    return [_one(name, file) for name, file in zip(names, files, strict=True)]


def _one(name: str, file: str | None) -> Classifier:
    try:
        return load_model(name, weights=file, device="cpu")
    except InputError as error:
        if "+" not in name:
            raise
        raise InputError(f"{error}; the networks of an ensemble need a space on each side of the +") from error


def measure_crops(
    networks: Mapping[str, Sequence[Classifier]],
    *,
    data: str,
    model: str,
    weights: str | None,
    cells: Mapping[tuple[str, str], Cell],
) -> dict[Cell, Measured]:
    """Measure the errors of every way to look.

    Args:
        networks: ignored, since nothing is trained.
        data: spec of the photographs; their test split is taken.
        model: specs of the networks, see `loaded`.
        weights: their weights.
        cells: cells of the errors, by way and column.
    """
    given, photographs = loaded(model, weights), load_data(data, split="test")
    parts = [(seen_by_all(given, x), y) for x, y in photographs.batches(BATCH)]
    most = {TOP_1: 1, TOP_5: 5}
    return {
        cell: Measured.of(torch.cat([missed(ways[way], y, most[column]) for ways, y in parts]))
        for (way, column), cell in cells.items()
        if way in parts[0][0]
    }


@STUDIES.register("imagenet_crops")
def imagenet_crops(*, budget: Budget) -> Study:
    """Declare the figures and claims on photographs of ImageNet's classes; the data and the network are the user's."""
    tables = (CROP_TABLE, SCALE_TABLE)
    cells = {(row, c): table.cell(row, c) for table in tables for row in table.printed for c in table.columns}
    run: Callable[..., dict[Cell, Measured]] = partial(
        measure_crops, data=budget.data or "", model=budget.model or "", weights=budget.weights, cells=cells
    )
    return Study(
        title="Photographs seen whole, in crops and at several scales",
        paper="Simonyan, Zisserman 2014, arXiv 1409.1556, and Szegedy et al. 2014, arXiv 1409.4842",
        trainings={},
        measurements={"errors": Pooled(networks=(), measure=run)},
        tables=tables,
        claims=_claims(cells, ensemble=budget.model is None or AND in budget.model),
        needs="" if budget.data and budget.model else NEEDS,
        differences=(
            f"Photographs: {budget.data or 'the ones you give'}; network: {budget.model or 'the one you give'}.",
            "The paper's networks are VGG D and GoogLeNet on 50,000 photographs of ImageNet.",
            "Whole photographs and their mirror images go through the network as it is. For one that ends in an "
            "average over places this is the paper's dense evaluation; torchvision's VGG resizes its last maps "
            "instead.",
            "The scales are 8/7, 12/7 and 16/7 of the network's input: 256, 384 and 512 pixels for a network of 224, "
            "as in the paper. Its network is trained at these scales; yours may not be.",
            "Of Szegedy's 144 crops, the three squares of a square photograph are one.",
            "The ensemble is the networks that you give, with + between them; the paper has seven GoogLeNets. With one "
            "network its rows stay empty, and nothing is claimed of them. Every other row is the first network's.",
        ),
    )


def _claims(cells: Mapping[tuple[str, str], Cell], *, ensemble: bool) -> tuple[Claim, ...]:
    sentences = {
        "Ten crops make fewer errors than one.": (TEN, ONE, TOP_5),
        "144 crops make fewer errors than ten.": (MANY, TEN, TOP_5),
        "Three scales make fewer errors than one.": (SCALES, WHOLE, TOP_1),
        "Crops make fewer errors than whole photographs.": (CROPS, SCALES, TOP_1),
        "Whole photographs and crops together make fewer errors than whole photographs.": (BOTH, SCALES, TOP_1),
        "Whole photographs and crops together make fewer errors than crops.": (BOTH, CROPS, TOP_1),
    }
    if ensemble:
        sentences |= {
            f"An ensemble makes fewer errors than one network, with {way}.": (shared, way, TOP_5)
            for shared, way in zip(SHARED, (ONE, TEN, MANY), strict=True)
        }
    return claims(
        {
            said: (cells[better, column], cells[worse, column], "images")
            for said, (better, worse, column) in sentences.items()
        }
    )
