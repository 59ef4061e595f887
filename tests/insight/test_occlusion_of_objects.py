"""Occlusion finds the object: on photographs whose objects' places are listed here, and on cluttered digits."""

import sys
from pathlib import Path

import pytest
import torch

from advkit.data import load_data
from advkit.insight import occlusion
from advkit.insight.colocalise import load_colocaliser

DATA = next(
    (p / "shared/data" for p in Path(__file__).resolve().parents if (p / "shared/data/nets.py").is_file()), None
)

OBJECTS = {  # file: top, left, bottom, right of the object as parts of the image, read off by eye
    "0113": (0.30, 0.31, 0.78, 0.93),  # snail
    "0142": (0.12, 0.00, 0.95, 0.46),  # dowitcher
    "0309": (0.28, 0.00, 0.88, 0.65),  # bee
    "0320": (0.22, 0.24, 0.82, 0.74),  # damselfly
    "0340": (0.00, 0.00, 1.00, 0.57),  # zebra
    "0362": (0.24, 0.40, 1.00, 0.84),  # badger
    "0468": (0.32, 0.00, 0.87, 0.93),  # cab
    "0776": (0.00, 0.42, 0.76, 1.00),  # saxophone
    "0829": (0.05, 0.13, 0.53, 0.42),  # streetcar
    "0920": (0.63, 0.49, 1.00, 0.85),  # traffic light
}
ROWS = [7, 9, 12, 15, 19, 22, 32, 65, 70, 86]
"""Their numbers among the photographs; the zebra is the second of two."""


@pytest.mark.slow
@pytest.mark.skipif(DATA is None, reason="the photographs and the network that knows them are not here")
def test_on_photographs_the_lowest_probability_lies_on_the_object(monkeypatch):
    monkeypatch.syspath_prepend(str(DATA))
    import nets

    net, (_, side, _) = nets.load("imagenet_squeezenet1_1")
    photographs = load_data(f"folder:{DATA / 'photographs'}", size=side, resize=256)
    x, y = photographs[ROWS]
    found = occlusion(net, x, y, stride=28)
    sys.modules.pop("nets")
    assert (found.clean > 0.5).all()
    for centre, box in zip(found.centres() / side, OBJECTS.values(), strict=True):
        top, left, bottom, right = box
        assert top <= centre[0] <= bottom, (centre, box)
        assert left <= centre[1] <= right, (centre, box)


def test_on_cluttered_digits_the_lowest_probability_lies_in_the_box_in_nine_of_ten():
    """The network sees the whole canvas: the co-localiser's crop moves with what is hidden."""
    data = load_data("distorted_mnist:cluttered")
    x, y = data[:60]
    found = occlusion(load_colocaliser(), x, y, size=12, stride=4, value=0)
    row, column = found.centres().unbind(1)
    top, left, bottom, right = data.boxes(torch.arange(60)).unbind(1)
    inside = (row >= top) & (row <= bottom) & (column >= left) & (column <= right)
    assert inside.double().mean() >= 0.9
