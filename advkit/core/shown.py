"""The base class of results: they can be printed, shown in a notebook, tabulated, drawn, saved and loaded."""

import base64
import io
import os
from dataclasses import fields
from functools import singledispatch
from typing import TYPE_CHECKING, Any, ClassVar, Self

from torch import Tensor

from advkit.core.errors import InputError
from advkit.core.files import writing
from advkit.core.registry import Registry
from advkit.core.saved import Content, read, tuples, write
from advkit.core.sheet import Sheet, as_html, as_latex, as_text
from advkit.core.words import cause

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

PICTURES: Registry["Figure"] = Registry("picture of", "advkit.figures")
"""Name of a class -> how its objects are drawn: (object, path=...) -> the figure."""


@singledispatch
def sheet_of(shown: Any) -> Sheet:
    """Return the paragraphs and tables of an object. Implementations are registered for each class."""
    raise TypeError(f"{type(shown).__name__} has no sheet")


class Shown:
    """A result that can be shown; its class has a sheet (`sheet_of`) and possibly a picture (`PICTURES`)."""

    pictured: ClassVar[bool] = True
    """Whether `plot` needs nothing but the object."""

    def __repr__(self) -> str:
        """Return one line; `print` shows the table."""
        return f"<{type(self).__name__} of {self._brief()}>"

    def _brief(self) -> str:
        """Return what `repr` says of the object."""
        raise NotImplementedError

    def __str__(self) -> str:
        return as_text(sheet_of(self))

    def _repr_html_(self) -> str:
        """The words and tables as HTML for a notebook, with the picture."""
        return as_html(sheet_of(self), self._picture() if self.pictured else "")

    def _picture(self) -> str:
        """The picture as a data URI."""
        file = io.BytesIO()
        self.plot().savefig(file, format="png", dpi=100)
        return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()

    def to_latex(self) -> str:
        """Return the first table as LaTeX, with the rules of the package booktabs; other text becomes comments."""
        return as_latex(sheet_of(self))

    def to_frame(self) -> "DataFrame":
        """Return the figures as a pandas DataFrame.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise InputError("to_frame() needs pandas, which is not installed: pip install pandas") from error
        return pandas.DataFrame(self.records())

    def records(self) -> list[dict[str, Any]]:
        """Return the rows of `to_frame`, without pandas."""
        return [{f.name: getattr(self, f.name) for f in fields(self)}]  # type: ignore[arg-type]

    def plot(self, *given: Any, path: str | os.PathLike[str] | None = None, **options: Any) -> "Figure":
        """Draw the object.

        Args:
            *given: values that the picture needs beside the object; for a `Result` x and y.
            path: file to write, PNG, PDF or SVG by its ending; by default no file is written.
            **options: options of the function in `advkit.figures` that draws it.

        Returns:
            The matplotlib figure; it has no window and need not be closed.

        Raises:
            InputError: the path has another ending, or objects of this class have no picture.
        """
        kind = type(self).__name__
        if kind not in PICTURES.names():
            raise InputError(f"a {kind} has no picture: print it, or draw what to_frame() returns")
        return PICTURES.factory(kind)(self, *given, path=path, **options)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the object to one file: safetensors if it holds tensors, otherwise JSON. `load` reads it again.

        Raises:
            InputError: the path is a folder, or the file cannot be written.
        """
        with writing(path):
            write(path, type(self).__name__, *self._packed())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote; tensors are loaded to the CPU, and no code in the file is run.

        Raises:
            InputError: there is no such file, or it holds another kind of object.
        """
        content, tensors = read(path, cls.__name__)
        try:
            return cls._unpacked(content, tensors)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise InputError(
                f"expected {path} as {cls.__name__}.save wrote it, got something else: {cause(error)}"
            ) from error

    def _packed(self) -> Content:
        """The fields, as what JSON takes and as tensors; for classes whose fields are numbers, tuples and tensors."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
        return {name: value for name, value in values.items() if name not in tensors}, tensors

    @classmethod
    def _unpacked(cls, content: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        return cls(**{name: tuples(value) for name, value in content.items()}, **tensors)
