"""A data set and a network that train in a blink."""

import torch
from torch import Tensor, nn

from advkit.data import MemoryDataset
from advkit.models import Classifier
from advkit.training import Augment, Recipe, Run, train

RECIPE = Recipe(
    model="toy",
    data="toy",
    input_shape=(1, 6, 6),
    num_classes=3,
    epochs=4,
    batch_size=16,
    lr=0.1,
    augment=Augment(rotation=10, shift=1, scale=0.1),
)


def toy_data(n: int = 60, split: str = "train") -> MemoryDataset:
    """Images whose class is the row of a bright bar."""
    y = torch.arange(n) % 3
    x = torch.rand(n, 1, 6, 6, generator=torch.Generator().manual_seed(len(split))) * 0.5
    x[torch.arange(n), 0, 2 * y] += 0.5
    return MemoryDataset("toy", split, "abc", x, y)


def toy_net(seed: int = 0) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()]
        return Classifier(nn.Sequential(*layers, nn.Dropout(0.2), nn.Linear(144, 3)))


def run_toy(recipe: Recipe = RECIPE, **options: object) -> Run:
    return train(toy_net(), toy_data(), recipe=recipe, test=toy_data(30, "test"), device="cpu", **options)  # type: ignore[arg-type]


def weights(run: Run) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in run.classifier.state_dict().items()}


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def numbers(model: nn.Module) -> Tensor:
    """All parameters on end, (P,), a copy."""
    return torch.cat([p.detach().flatten() for p in model.parameters()])
