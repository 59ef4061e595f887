"""Merge the shards of one evaluation to the run that one process would have made."""

import os
import shutil
from collections.abc import Sequence
from typing import Any

from advkit.core.errors import InputError
from advkit.core.files import alone
from advkit.evaluation.recorded import conclude
from advkit.evaluation.runs.begin_run import Begun, begin, check_place
from advkit.evaluation.runs.identity import BINDING
from advkit.evaluation.runs.run_folder import Run, load_run

Path_ = str | os.PathLike[str]


def merge_runs(runs: Sequence[Path_], *, output: Path_) -> Run:
    """Join runs of shards (`Keep(shard="3/16")`) in a new folder; its rows are those of one process.

    Args:
        runs: folders of complete runs, in any order; runs of the same shard must agree.
        output: folder of the joined run, which is created.

    Returns:
        The joined run.

    Raises:
        InputError: a run is not complete or is damaged, the runs are of different evaluations, or a batch is missing.
        OSError: the disk is full.
    """
    parts = [load_run(home) for home in runs]
    if not parts:
        raise InputError("expected the folders of runs to merge, got none")
    check_place(output, resume=False)
    _same_evaluation(parts)
    source = _sources(parts)
    record = parts[0].record
    made = begin(output, Begun({**record["config"], "shard": None}, record["environment"]), **_about(parts))
    with alone(made.home):
        for number, part in source.items():
            _copy(part, made, number)
        made.record["batches"] = {str(n): part.record["batches"][str(n)] for n, part in source.items()}
        conclude(made)
    return load_run(output)


def _same_evaluation(parts: Sequence[Run]) -> None:
    """Raise InputError where configuration or environment of two parts differ in what decides the rows."""
    first = parts[0]
    for part in parts:
        if part.record["format"] == 1:
            raise InputError(f"the run in {part.home} is of format 1, which cannot be merged: evaluate again")
        for name, keys in (("config", first.record["config"].keys() - {"shard"}), ("environment", BINDING)):
            here, there = first.record[name], part.record[name]
            if wrong := [key for key in keys if here.get(key) != there.get(key)]:
                key = sorted(wrong)[0]
                raise InputError(
                    f"expected shards of one evaluation: {key} is {here.get(key)} in {first.home} and "
                    f"{there.get(key)} in {part.home}"
                )


def _sources(parts: Sequence[Run]) -> dict[int, Run]:
    """Which run each batch is taken from, ascending."""
    found: dict[int, Run] = {}
    for part in parts:
        for number in part.numbers():
            if wrong := part.damage(number):
                raise InputError(f"the run in {part.home} is damaged: batch {number}: {wrong}")
            other = found.setdefault(number, part)
            for what in ("images", "labels", "ids", "rows"):
                if other.digests(number)[what] != part.digests(number)[what]:
                    raise InputError(f"batch {number} has other {what} in {part.home} than in {other.home}")
    whole = max(part.record["wanted"]["batches"] for part in parts)
    if lost := sorted(set(range(whole)) - found.keys()):
        shards = sorted({str(part.record["config"]["shard"]) for part in parts})
        raise InputError(
            f"no run has batch {', '.join(map(str, lost[:9]))}{' ...' if len(lost) > 9 else ''} of {whole}: "
            f"given are the shards {', '.join(shards)}"
        )
    return dict(sorted(found.items()))


def _about(parts: Sequence[Run]) -> dict[str, Any]:
    """What run.json says beside configuration and environment."""
    record = parts[0].record
    about = {key: record.get(key) for key in ("command", "card", "setting", "lines", "classes", "image_files")}
    checks = next((c for part in parts if (c := part.record["checks"])), None)
    times = {"started": min(p.record["started"] for p in parts), "finished": max(p.record["finished"] for p in parts)}
    wanted = {"batches": record["wanted"]["batches"], "numbers": list(range(record["wanted"]["batches"]))}
    return {**about, **times, "checks": checks, "wanted": wanted}


def _copy(part: Run, made: Run, number: int) -> None:
    """The file of a batch, and the PNG files of its images."""
    name = f"batches/{number:06d}.safetensors"
    with (part.home / name).open("rb") as content:
        made.write(name, lambda file: shutil.copyfileobj(content, file))
    if part.record["config"]["png"]:
        for sample in part.columns(number)[0]["sample_ids"].tolist():
            for path in part.home.glob(f"png/*/{sample:06d}.png"):
                place = made.home / path.relative_to(part.home)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)
