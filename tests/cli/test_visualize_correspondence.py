"""`advkit visualize correspondence`: parts on the command line and in a file, and what is wrong with them."""

import pytest
from click.testing import CliRunner
from PIL import Image

from advkit.cli import main
from advkit.cli.visualize.correspondence import parsed, read_parts, row_of
from advkit.core.errors import InputError
from advkit.data import load_data

HEADER = "image,part,top,left,bottom,right\n"


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def advkit(*words):
    return CliRunner().invoke(main, ["visualize", "correspondence", *words])


def test_parts_at_one_place_are_compared_in_images_of_a_class(somewhere):
    words = ("--class", "7", "--part", "bar=7,8,13,24", "--value", "0", "--count", "3", "--random", "4")
    result = advkit(*words, "--layer", "features.c3", "--layer", "classifier.relu6", "--device", "cpu")
    assert result.exit_code == 0, result.output
    first, second, last = result.stdout.splitlines()
    assert first.startswith("features.c3, bar: distance 0.")
    assert "of 4 sets of random boxes are as alike" in second
    assert last == "Picture: advkit-correspondence.png (3 images, 1 parts, 2 layers)"
    with Image.open(somewhere / "advkit-correspondence.png") as picture:
        assert min(picture.size) > 300


def test_a_file_gives_the_images_and_their_boxes(somewhere):
    lines = "12,eye,1,2,3,4\n5,eye,5,6,7,8\n5,nose,9,9,12,12\n\n12,nose,8,8,11,11\n"
    (somewhere / "parts.csv").write_text(HEADER + lines)
    rows, parts = read_parts(somewhere / "parts.csv", load_data("mnist5k"))
    assert rows == [12, 5]
    assert parts == {"eye": [(1, 2, 3, 4), (5, 6, 7, 8)], "nose": [(8, 8, 11, 11), (9, 9, 12, 12)]}
    result = advkit("--parts", "parts.csv", "--random", "0", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "random" not in result.stdout
    assert "2 images, 2 parts, 2 layers" in result.stdout


def test_photographs_go_by_the_end_of_their_path(somewhere):
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        (somewhere / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20)).save(somewhere / "photos" / name)
    data = load_data(f"folder:{somewhere / 'photos'}", size=20)
    assert [row_of(name, data, "here") for name in ("2.png", "b/1.png", "a/1.png", "1")] == [1, 2, 0, 1]
    for name, fits in (("1.png", 2), ("c.png", 0), ("9", 0), ("", 0)):
        with pytest.raises(InputError, match=f"which fits {fits} files"):
            row_of(name, data, "here")


def test_a_part_on_the_command_line_has_one_form():
    assert parsed("left eye=1, 2,3,4") == ("left eye", (1, 2, 3, 4))
    for wrong in ("nose", "nose=1,2,3", "=1,2,3,4", "nose=1,2,3,x", "nose=-1,2,3,4"):
        with pytest.raises(InputError, match="NAME=TOP,LEFT,BOTTOM,RIGHT"):
            parsed(wrong)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "expected the columns image,part,top,left,bottom,right, got none"),
        ("image,part,x\n", "expected the columns"),
        (HEADER + "1,eye,1,2,3\n", "line 2: expected 6 cells, got 5"),
        (HEADER + "1,eye,1,2,3,four\n", "line 2: expected top, left, bottom, right in whole pixels"),
        (HEADER + "1000,eye,1,2,3,4\n", "line 2: expected the number of an image below 1000"),
        (HEADER + "1,eye,1,2,3,4\n2,nose,1,2,3,4\n", "image 2 has no part 'eye'"),
        (HEADER + "1,eye,1,2,3,4\n1,eye,1,2,3,5\n", "part 'eye' of image 1 appears twice"),
        (HEADER + "1,eye,1,2,3,4\n2,eye,1,2,33,4\n", "within 32x32 pixels"),
        (HEADER + "1,eye,1,2,3,4\n", "expected two images or more"),
        ("\x00\xff", "parts.csv"),
    ],
)
def test_a_wrong_file_is_one_line(table, message, somewhere):
    (somewhere / "parts.csv").write_bytes(table.encode("latin-1"))
    result = advkit("--parts", "parts.csv", "--device", "cpu")
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give --part NAME=TOP,LEFT,BOTTOM,RIGHT for every image, or --parts FILE"),
        (("--part", "a=1,2,3,4", "--parts", "b.csv"), "and not both"),
        (("--parts", "b.csv"), "cannot read b.csv as a table"),
        (("--part", "a=1,2,3,4", "--class", "ten"), "unknown class of mnist5k 'ten'"),
        (("--part", "a=1,2,3,4", "--layer", "features.c4"), "unknown layer 'features.c4'"),
        (("--part", "a=1,2,3,4", "--first", "5000"), "expected two images or more"),
        (("--part", "a=1,2,1,4"), "within 32x32 pixels"),
    ],
)
def test_wrong_words_are_one_line(words, message, somewhere):
    result = advkit(*words, "--device", "cpu")
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(somewhere.iterdir()) == []
