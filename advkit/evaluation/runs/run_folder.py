"""The folder of an evaluation: `run.json`, one file a batch, `samples.csv`; see docs/run-format.md.

A batch is committed by renaming one complete file, so a run that was killed at any moment can continue.
"""

import csv
import errno
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Self

from safetensors import SafetensorError
from torch import Tensor

from advkit.core.errors import InputError
from advkit.core.files import user_path, writing
from advkit.core.shown import Shown
from advkit.data import atomic_write
from advkit.data._stream import Batch
from advkit.evaluation.measure.assembly import Line, assembled
from advkit.evaluation.measure.certificates import CertificateAsked
from advkit.evaluation.measure.checks import Checks
from advkit.evaluation.measure.corruptions import CorruptionReport
from advkit.evaluation.measure.report import Report
from advkit.evaluation.measure.setting import Setting
from advkit.evaluation.measure.tally import Columns
from advkit.evaluation.runs.batch_file import BatchFile, write_batch
from advkit.evaluation.runs.digests import of_file, of_record
from advkit.evaluation.runs.rows import header, rows
from advkit.evaluation.runs.run_json import earlier, read_json

CORRUPTIONS = "corruptions.json"
"""The errors under corruptions, where they were asked for."""

EXAMPLES = "examples.png"
"""The picture that the command adds to a finished run."""

Path_ = str | os.PathLike[str]


class Run(Shown):
    """A run folder.

    Attributes:
        home: the folder.
        record: the content of run.json.
    """

    def __init__(self, home: Path, record: dict[str, Any]) -> None:
        self.home, self.record = home, record
        self._whole: set[int] = set()  # batches whose columns were found as they were written

    def _brief(self) -> str:
        count = len(self.record["config"]["attacks"])
        return f"{count} attack{'s' * (count != 1)} in {self.home}, {self.record['status']}"

    @property
    def complete(self) -> bool:
        """Whether every batch exists and the figures are written."""
        return bool(self.record["status"] == "complete")

    @property
    def attacks(self) -> list[str]:
        """The specs of the attacks, followed by the control's if there was one."""
        config = self.record["config"]
        return [*config["attacks"], *([config["control"]] if config["control"] else [])]

    @property
    def corruptions(self) -> CorruptionReport | None:
        """The errors under corruptions, if the folder has them.

        Raises:
            InputError: the file holds no such errors.
        """
        found = read_json(self.home / CORRUPTIONS)
        try:
            return None if found is None else CorruptionReport.from_dict(found)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            place = self.home / CORRUPTIONS
            raise InputError(f"expected {place} as advkit wrote it, got something else: remove it") from error

    @property
    def report(self) -> Report:
        """The report that `evaluate` returned; its tensors are read from the folder when they are used.

        Raises:
            InputError: a batch is missing or damaged, or run.json is of format 1, which does not name its attacks.
        """
        if "lines" not in self.record:
            raise InputError(f"the run in {self.home} is of format 1: its report is in run.json and report.html only")
        config, checks = self.record["config"], self.record.get("checks")
        lines = [Line(**line) for line in self.record["lines"]]
        name, seed = config["data"]["name"], config["seed"]
        about = {"seed": seed, "goal": config.get("goal") or "", "labelled": config.get("labelled", True)}
        certificate = (asked := config.get("certify")) and CertificateAsked(**asked)
        control = config["control"] is not None
        report = assembled(lines, name, self, control=control, certificate=certificate, **about)
        setting = self.record.get("setting")
        return replace(
            report,
            checks=checks and Checks.from_dict(checks),
            corruptions=self.corruptions,
            setting=setting and Setting.from_dict(setting),
        )

    @property
    def robust_accuracy(self) -> float:
        """The robust accuracy of the report."""
        return self.report.robust_accuracy

    @property
    def robust_accuracy_interval(self) -> tuple[float, float]:
        """The interval of the robust accuracy."""
        return self.report.robust_accuracy_interval

    def records(self) -> list[dict[str, Any]]:
        """Return the rows of the report."""
        return self.report.records()

    def save(self, path: Path_) -> None:
        """Copy the folder, images included, to a new place.

        Raises:
            InputError: the place exists already, or the folder cannot be written.
        """
        path = user_path(path)
        if path.exists():
            raise InputError(f"expected a path for a new folder, got {path}, where something is already")
        with writing(path):
            shutil.copytree(self.home, path)

    @classmethod
    def load(cls, path: Path_) -> Self:
        """Load a run, like `load_run`."""
        run = load_run(path)
        return cls(run.home, run.record)

    def files(self, *names: str) -> dict[str, str]:
        """Return the digests of files of the folder.

        Args:
            *names: names of files in the folder.
        """
        return {name: of_file(self.home / name) for name in names}

    def stands(self, *names: str) -> bool:
        """Return whether these files are as run.json lists them.

        Args:
            *names: names of files in the folder.
        """
        listed = self.record.get("files", {})
        return all((self.home / name).is_file() and listed.get(name) == of_file(self.home / name) for name in names)

    def altered(self, name: str) -> bool:
        """Return whether run.json lists a file that is missing now or not what was written.

        Args:
            name: name of the file.
        """
        return name in self.record.get("files", {}) and not self.stands(name)

    def has(self, number: int) -> bool:
        """Return whether the batch of this number is committed.

        Args:
            number: number of the batch.
        """
        return self._file(number).exists()

    def numbers(self) -> list[int]:
        """Return the numbers of the committed batches, ascending."""
        return sorted(int(path.stem) for path in (self.home / "batches").glob("*.safetensors") if path.stem.isdecimal())

    def missing(self) -> list[int]:
        """Return the numbers of the batches that a complete run lists and the folder lacks."""
        return sorted(set(map(int, self.record.get("batches", {}))) - set(self.numbers()))

    def commit(
        self, number: int, batch: Batch, columns: Sequence[Columns], images: list[Tensor], pngs: Mapping[str, str]
    ) -> None:
        """Write a batch atomically, with digests of its data and of the results.

        Args:
            number: number of the batch.
            batch: the batch as the data gave it.
            columns: columns of the clean pass, of each attack and of the control.
            images: the clean images and the adversarial ones of each attack; none if they are not kept.
            pngs: digests of the PNG files of the batch, by their names in the folder.
        """

        def write(file: IO[bytes]) -> None:
            write_batch(file, number, batch, columns, images, pngs)

        self.write(f"batches/{number:06d}.safetensors", write)

    def digests(self, number: int) -> dict[str, str]:
        """Return the record in the file of a batch; empty in format 1.

        Args:
            number: number of the batch.

        Raises:
            InputError: the file is missing or cannot be read.
        """
        return self._opened(number).digests

    def damage(self, number: int, *, images: bool = True) -> str | None:
        """Return what is wrong with the file of a batch; None if it is intact.

        Args:
            number: number of the batch.
            images: whether to check the images, PNG files and times too, which takes as long as reading them.
        """
        try:
            file = self._opened(number)
            if "rows" not in file.digests:
                return None if self.record["format"] == 1 else "it carries no digests"
            listed = self.record.get("batches", {}).get(str(number), file.digests["rows"])
            return file.damage(number, len(self.attacks), listed, images=images)
        except (InputError, SafetensorError, OSError, RuntimeError, ValueError) as error:
            return str(error)

    def columns(self, number: int) -> list[Columns]:
        """Return the columns of one batch (clean, each attack, the control), which are read when they are used.

        Args:
            number: number of the batch.
        """
        self._trust(number)
        return self._opened(number).columns(len(self.attacks))

    def _trust(self, number: int) -> None:
        """Raise InputError where the columns of a batch are not what was written; looked at once."""
        if number in self._whole:
            return
        wrong = self.damage(number, images=False)
        if wrong:
            raise InputError(
                f"the run in {self.home} is damaged: batch {number}: {wrong}; evaluate with --resume does it again"
            )
        self._whole.add(number)

    def __iter__(self) -> Iterator[list[Columns]]:
        """Iterate over the columns of the batches, read from the disk.

        Raises:
            InputError: a batch is missing or damaged, or batches overlap.
        """
        if lost := self.missing():
            raise InputError(
                f"the run in {self.home} lacks batch {', '.join(map(str, lost))}: evaluate with --resume does it again"
            )
        last = -1
        for number in self.numbers():
            columns = self.columns(number)
            ids = columns[0]["sample_ids"]
            if int(ids[0]) <= last:
                raise InputError(
                    f"the batches in {self.home} overlap: the data came in other batches than when the run began"
                )
            last = int(ids[-1])
            yield columns

    def images(self, number: int, attack: int | None) -> Tensor:
        """Return the images (N, C, H, W) of one batch: the adversarial ones of an attack, or the clean ones.

        Args:
            number: number of the batch.
            attack: position of the attack in `attacks`; None for the clean images.

        Raises:
            InputError: the run kept no images.
        """
        found = self._opened(number).images(attack)
        if found is None:
            raise InputError(f"the run in {self.home} kept no images: evaluate again without images=False")
        return found

    def write_rows(self) -> None:
        """Write samples.csv from the batches, one batch at a time."""
        files = self.record.get("image_files") or ()

        def write(file: IO[bytes]) -> None:
            for number, columns in enumerate(self):
                text = io.StringIO()
                lines = csv.writer(text, lineterminator="\n")
                lines.writerows([] if number else [header(columns, named=bool(files))])
                lines.writerows(rows(columns, self.attacks, files))
                file.write(text.getvalue().encode())

        self.write("samples.csv", write)

    def update(self, **changes: Any) -> None:
        """Write run.json with these entries changed.

        Args:
            **changes: new values of entries of run.json.
        """
        self.record = {**self.record, **changes}
        self.record["digest"] = of_record(self.record)
        text = json.dumps(self.record, indent=1, allow_nan=False)
        self.write("run.json", lambda file: file.write(text.encode()))

    def write(self, name: str, content: Any) -> None:
        """Write a file of the folder atomically; `content` fills an open binary file.

        Args:
            name: name of the file.
            content: function that fills the open binary file that it is given.

        Raises:
            OSError: the disk is full or cannot be written to, or the folder was removed; existing files stay.
        """
        if name != "run.json" and not (self.home / "run.json").exists():
            raise OSError(f"the folder {self.home} of the run was taken away: run.json is gone")
        with self._explained(name):
            atomic_write(self.home / name, content)

    def enlist(self, name: str) -> None:
        """Add the digest of a file of the folder to run.json.

        Args:
            name: name of the file.
        """
        self.update(files={**self.record["files"], **self.files(name)})

    def write_loose(self, name: str, content: bytes) -> None:
        """Write a file of a batch that is not committed yet, neither atomically nor flushed: it would be written again.

        Args:
            name: name of the file.
            content: what the file holds.

        Raises:
            OSError: the disk is full or cannot be written to.
        """
        with self._explained(name):
            path = self.home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            done, full = len(self.numbers()), error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            raise OSError(
                f"cannot write {name} in {self.home}: {error.strerror or error}; the run is intact with "
                f"{done} batches: {'make room' if full else 'mend that'}, then go on with --resume (resume=True)"
            ) from error

    def _file(self, number: int) -> Path:
        return self.home / "batches" / f"{number:06d}.safetensors"

    def _opened(self, number: int) -> BatchFile:
        return BatchFile(self._file(number))


def load_run(home: Path_) -> Run:
    """Open the run in a folder for reading.

    Args:
        home: folder of a complete run.

    Raises:
        InputError: there is no run, or it is not complete.
    """
    record = earlier(home)
    if record is None:
        raise InputError(f"there is no run in {home}: expected a folder that advkit evaluate --output wrote")
    run = Run(user_path(home), record)
    if lost := run.missing():
        raise InputError(
            f"the run in {home} lacks batch {', '.join(map(str, lost))}: advkit evaluate ... --output {home} --resume "
            "does it again"
        )
    if not run.complete:
        raise InputError(f"the run in {home} is not complete: go on with advkit evaluate ... --output {home} --resume")
    return run
