"""Training that starts from weights of another task, on networks that are not ours."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from advkit.core.errors import InputError
from advkit.data import MemoryDataset
from advkit.defenses import create_defense
from advkit.models import create_model, load_model, robust, save_checkpoint, start_from
from advkit.training import Recipe, build, train
from advkit.training._freeze import rates


def photographs(count: int = 8) -> MemoryDataset:
    generator = torch.Generator().manual_seed(0)
    return MemoryDataset(
        "toy", "train", "ab", torch.rand(count, 3, 32, 32, generator=generator), torch.arange(count) % 2
    )


def test_a_network_of_torchvision_is_fine_tuned_with_a_defence(tmp_path: Path) -> None:
    source = create_model("torchvision:resnet18", num_classes=5, seed=1)
    file = tmp_path / "weights.pt"
    torch.save(source.net.state_dict(), file)
    recipe = Recipe(
        model="torchvision:resnet18", data="toy", input_shape=(3, 32, 32), num_classes=2, epochs=1, batch_size=8,
        lr=0.01, schedule="constant", weights=str(file), freeze="conv1, bn1, layer1, layer2, layer3", layer_decay=0.5,
    )  # fmt: skip
    net = build(recipe)
    assert torch.equal(net.net.layer4[0].conv1.weight, source.net.layer4[0].conv1.weight)
    assert net.net.fc.weight.shape == (2, 512)
    before = {k: v.clone() for k, v in net.net.state_dict().items()}
    train(net, photographs(), recipe=recipe, loss=create_defense("fast(eps=8/255)"), test=photographs(), device="cpu")
    after = net.net.state_dict()
    for name in ("bn1.running_mean", "layer1.0.bn1.running_var", "layer3.1.bn2.weight"):
        assert torch.equal(before[name], after[name])
    assert not torch.equal(before["layer4.0.bn1.running_mean"], after["layer4.0.bn1.running_mean"])
    assert not torch.equal(before["fc.weight"].half(), after["fc.weight"].half())


def test_what_does_not_fit_is_said_and_another_networks_weights_are_refused(tmp_path: Path) -> None:
    digits = create_model("lenet5", seed=0)
    save_checkpoint(tmp_path / "a.safetensors", digits)
    other = create_model("lenet5", num_classes=3, seed=1)
    left = start_from(other, tmp_path / "a.safetensors")
    assert len(left) == 2
    assert all(other.net.state_dict()[name].shape[0] == 3 for name in left)
    with pytest.raises(InputError, match="does not fit"):
        start_from(create_model("vgg11", width=0.25, input_shape=(1, 32, 32), seed=0), tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", ["lenet5", "vgg11"])
def test_robust_checkpoints_load_by_name_and_carry_their_errors(name: str) -> None:
    cards = robust(name)
    if not cards:
        pytest.skip("none ships yet")
    for defense, card in cards.items():
        net = load_model(name, weights=defense, device="cpu")
        assert replace(net.card) == card
        assert 0 < card.clean_error < 0.1  # type: ignore[operator]
        assert any(spec.startswith("pgd") for spec in card.attack_errors)
        assert all(error > card.clean_error for error in card.attack_errors.values())  # type: ignore[operator]


def test_the_rate_falls_from_part_to_part_and_parts_without_parameters_do_not_count() -> None:
    first, middle, last = nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.Linear(2, 2)), nn.Linear(2, 2)
    inner = nn.Sequential(first, nn.ReLU(), middle, nn.Flatten(), last)
    for net in (inner, nn.Sequential(nn.Flatten(), inner), nn.Sequential(nn.Sequential(inner), nn.ReLU())):
        found = rates(net, 0.5)
        parts = ((first, 0.25), (middle, 0.5), (last, 1.0))
        assert found == {p: factor for part, factor in parts for p in part.parameters()}
