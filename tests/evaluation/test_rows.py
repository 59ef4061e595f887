"""samples.csv by its columns: headings fit the rows, whichever attack has a measure of its own."""

import itertools

import pytest
import torch

from advkit.evaluation.runs.rows import ATTACKED, CLEAN, FILE, HEADER, SIZE, header, rows

N = 3


def clean(*, certified: bool) -> dict[str, torch.Tensor]:
    flags = dict.fromkeys(("clean_wrong", "clean_top5_wrong"), torch.tensor([False, True, False]))
    numbers = {
        "sample_ids": torch.tensor([4, 7, 9]),
        "y": torch.tensor([0, 1, 2]),
        "prediction": torch.tensor([0, 2, 2]),
    }
    more = {"certified": torch.tensor([True, False, False])} if certified else {}
    return {**numbers, "clean_confidence": torch.tensor([0.5, 0.25, 0.125]), **flags, **more}


def attack(number: int, *, sized: bool) -> dict[str, torch.Tensor]:
    columns = {name: torch.full((N,), float(number), dtype=torch.float64) for name in set(ATTACKED.values())}
    return {**columns, **({SIZE: torch.full((N,), 10.0 + number)} if sized else {})}


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("certified", [False, True])
@pytest.mark.parametrize("sized", [*itertools.product([False, True], repeat=2), (True,), (False,), ()], ids=str)
def test_every_row_fits_the_headings(sized: tuple[bool, ...], certified: bool, named: bool) -> None:
    columns = [clean(certified=certified), *(attack(n, sized=flag) for n, flag in enumerate(sized))]
    names = [f"a{n}" for n in range(len(sized))]
    heads = header(columns, named=named)
    assert heads == [*HEADER, *[SIZE] * any(sized), *["certified"] * certified, *[FILE] * named]
    made = [dict(zip(heads, row, strict=True)) for row in rows(columns, names, [f"{i}.png" for i in range(10)] * named)]
    assert [(row["id"], row["attack"]) for row in made] == list(itertools.product([4, 7, 9], names or ["clean"]))
    for row in made:
        i = [4, 7, 9].index(row["id"])
        assert [row[head] for head in list(CLEAN)[1:]] == [i, [0, 2, 2][i], [0.5, 0.25, 0.125][i], int(i == 1)]
        assert row.get("certified") == (int(i == 0) if certified else None)
        assert row.get(FILE) == (f"{row['id']}.png" if named else None)
        if names:
            number = names.index(row["attack"])
            assert {row[head] for head in ATTACKED} == {number}
            assert row.get(SIZE) == ((10.0 + number if sized[number] else "") if any(sized) else None)
        else:
            assert (row["success"], row["queries"], row["distance"]) == (int(i == 1), 1, 0)
