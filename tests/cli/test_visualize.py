"""`advkit visualize stn`: the picture shows the points that the transformer samples; wrong input gets one line."""

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from advkit.cli import main
from advkit.cli.visualize.augment import in_turn
from advkit.cli.visualize.stn import first_transformers
from advkit.core.errors import InputError
from advkit.data import load_data
from advkit.figures._examples import visible
from advkit.figures.transformer import to_pixels, transformations
from advkit.models import load_model
from advkit.models.spatial_transformer import regular_grid


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def advkit(*words):
    return CliRunner().invoke(main, ["visualize", "stn", *words])


def test_the_regular_grid_lies_on_the_pixel_centres():
    places = to_pixels(regular_grid((3, 5)).double(), (3, 5))
    assert torch.allclose(places[..., 0], torch.arange(5.0).double().expand(3, 5), atol=1e-6)
    assert torch.allclose(places[..., 1], torch.arange(3.0).double()[:, None].expand(3, 5), atol=1e-6)


def test_the_grid_that_is_drawn_is_that_of_the_points():
    x, points = torch.rand(1, 1, 6, 6), regular_grid((6, 6))[None] * 0.5
    figure = transformations(x, points, x, labels=("a",))
    middle = figure.axes[1]
    drawn = torch.tensor([line.get_xydata().tolist() for line in middle.lines])
    assert drawn.amin().item() == pytest.approx(((-5 / 6 * 0.5 + 1) * 6 - 1) / 2)
    assert len(middle.lines) == 12
    assert [axes.get_ylabel() for axes in figure.axes] == ["input", "sampling grid", "output"]


@pytest.mark.parametrize("model", ["stn_cnn", "stn_fcn"])
def test_the_command_writes_a_picture_and_says_which_weights(model, somewhere):
    result = advkit("--model", model, "--count", "3", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "ships with advkit" in result.stdout
    assert "Picture: advkit-stn.png (3 images)" in result.stdout
    with Image.open(somewhere / "advkit-stn.png") as picture:
        assert picture.width > 300
    assert advkit("--output", str(somewhere), "--count", "1").exit_code == 0


def test_data_that_have_a_checkpoint_of_their_own_get_it(somewhere):
    result = advkit("--data", "distorted_mnist", "--count", "2", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "trained on distorted_mnist:train" in result.stdout
    assert "1x42x42" in result.stdout


def test_the_images_are_of_the_classes_in_turn():
    data = load_data("mnist5k", split="test")
    assert data.labels[in_turn(data)[:12]].tolist() == [*range(10), 0, 1]


def test_a_network_without_a_transformer_in_front_gets_one_clear_line(somewhere):
    result = advkit("--model", "lenet5")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: lenet5 does not begin with a spatial transformer")
    assert len(result.stderr.splitlines()) == 1
    assert list(somewhere.iterdir()) == []
    with pytest.raises(InputError, match="does not begin"):
        first_transformers(load_model("stn_cnn(transform='none')", weights="random"))


def test_images_of_another_size_get_one_clear_line():
    result = advkit("--weights", "random", "--device", "cpu")
    assert result.exit_code == 2
    assert "stn_cnn was built for images (1, 28, 28), mnist5k has (1, 32, 32)" in result.stderr


def test_shapes_that_do_not_fit_get_a_clear_error():
    x, points = torch.rand(2, 1, 6, 6), regular_grid((6, 6)).expand(2, 6, 6, 2)
    for wrong in ((x[:0], points, x), (x, points[:1], x), (x, points, x[:, :, :4]), (x[0], points, x)):
        with pytest.raises(InputError, match="expected"):
            transformations(*wrong)
    with pytest.raises(InputError, match="one label for each of 2"):
        transformations(x, points, x, labels=("a",))


def test_several_transformers_get_a_grid_and_an_output_each():
    x = torch.rand(2, 2, 6, 6)
    points = torch.stack([regular_grid((4, 4)).expand(2, 4, 4, 2) * scale for scale in (0.5, 0.25)])
    output = torch.rand(2, 2, 2, 4, 4)
    figure = transformations(x, points, output, data="toys")
    said = " ".join(figure._supxlabel.get_text().split())
    assert "4x4 pixels of the output are taken from in the image of 6x6" in said
    assert "first channel orange, second blue. Data: toys." in said
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == [
        "input", "transformer 1", "output 1", "transformer 2", "output 2",
    ]  # fmt: skip
    widths = [max(line.get_xdata().max() for line in figure.axes[i].lines) for i in (2, 6)]
    assert widths == pytest.approx([((3 / 4 * scale + 1) * 6 - 1) / 2 for scale in (0.5, 0.25)])
    drawn = torch.as_tensor(figure.axes[9].images[0].get_array())
    torch.testing.assert_close(drawn, visible(output[1, 1]).clamp(0, 1).permute(1, 2, 0))


def test_parallel_transformers_are_all_found():
    net = load_model("stn_fcn(transformers=3, width=1/8)", weights="random")
    assert len(first_transformers(net)) == 3


def test_motion_writes_a_gif_or_the_positions_side_by_side(somewhere):
    words = ("--data", "distorted_mnist", "--count", "1", "--motion", "3", "--device", "cpu")
    result = advkit(*words)
    assert result.exit_code == 0, result.output
    assert "Picture: advkit-stn.gif" in result.stdout
    assert advkit(*words, "--output", "strip.png").exit_code == 0
    with Image.open(somewhere / "advkit-stn.gif") as film, Image.open(somewhere / "strip.png") as strip:
        assert film.n_frames == 3
        assert strip.width > 700
    for more, message in (
        (("--attack", "fgsm(eps=0.1)"), "leave out --attack"),
        (("--output", "a.xyz"), ".jpeg or .gif, got"),
    ):
        result = advkit(*words, *more)
        assert result.exit_code == 2
        assert message in result.stderr


def test_the_help_names_the_ending_of_a_film():
    said = " ".join(advkit("--help").stdout.split())
    assert "(.png, .pdf, .svg, .jpg; with --motion .gif)" in said
    assert "a film, .gif, or a picture" in said
