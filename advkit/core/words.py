"""Formatting and parsing of numbers (eps, percentages, intervals) for commands, objects and pages."""

from collections.abc import Sequence
from fractions import Fraction
from math import isfinite, isnan, nan

from advkit.core.errors import InputError

CAVEAT = (
    "An adversarial error is a lower bound: a stronger attack may find more. "
    "The intervals cover the sampling of the images, nothing else."
)
"""The text below every adversarial error."""

LONG = 6
"""A number of more digits than this is written in 255ths, if it is a multiple of them."""


def number(value: float) -> str:
    """Return the shortest text that reads as the same number: `"0.1"`, `"8/255"`, `"2.5/255"`.

    A number is written in 255ths if they give exactly this number and its decimal digits are many.
    """
    text = repr(value)
    if len(text) <= LONG or not 0 < value <= 1:
        return text
    levels = round(value * 255 * 4) / 4
    return f"{levels:g}/255" if levels / 255 == value else text


def beyond_the_range(eps: float, boxed: bool) -> str:
    """Return a remark on a radius that lets every pixel take any value; empty for any other radius.

    Args:
        eps: the radius.
        boxed: whether the radius bounds each pixel alone.
    """
    if not boxed or eps < 1:
        return ""
    return f"eps {eps:g} covers the whole range of the pixels, 0 to 1. Did you mean {eps:g}/255?"


def fraction(text: str) -> float:
    """Parse `"0.007"`, `"8/255"` or `"2.5/255"`.

    Raises:
        InputError: the text is neither, or the number is not finite, or so small that it would become 0.
    """
    above, slash, below = text.replace(" ", "").partition("/")
    try:
        parts = (above, below) if slash else (text,)
        held = all(isfinite(float(part)) and (float(part) or not has_digits(part)) for part in parts)
        exact = Fraction(above) / Fraction(below) if held and slash else None  # a huge exponent would take hours
        value = nan if not held else float(text) if exact is None else float(exact)
        value = nan if exact and not value else value
    except (ValueError, ZeroDivisionError, OverflowError):
        value = nan
    if not isfinite(value) or "/" in below:
        raise InputError(f"expected a number such as 0.007 or 8/255, got {text!r}")
    return value + 0.0  # -0 is 0


def has_digits(text: str) -> bool:
    """Return whether the text of a number has a digit other than 0 before its exponent: it stands for another than 0.

    Args:
        text: the number as it was written.
    """
    return any(sign in "123456789" for sign in text.lower().partition("e")[0])


def either(words: Sequence[str]) -> str:
    """(".png", ".pdf", ".svg") -> ".png, .pdf or .svg"."""
    return " or ".join([*([", ".join(words[:-1])] if words[1:] else []), words[-1]])


def percent(fraction: float | None) -> str:
    """0.0123 -> "1.2 %"; "-" for None and NaN."""
    return "-" if fraction is None or isnan(fraction) else f"{100 * fraction:.1f} %"


def span(interval: tuple[float, float] | None) -> str:
    """(0.01, 0.023) -> "1.0 % to 2.3 %"; "-" for None."""
    return "-" if interval is None else f"{percent(interval[0])} to {percent(interval[1])}"


def bracket(interval: tuple[float, float]) -> str:
    """(0.01, 0.023) -> "(1.0 to 2.3)", for use after a percentage."""
    return f"({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def short(value: float | None) -> str:
    """Four digits; "-" for None and infinity."""
    return "-" if value is None or not isfinite(value) else f"{value:.4g}"


def cause(error: BaseException) -> str:
    """Return the type of an error and the first line of its message; a message alone can be as short as `'x'`."""
    kind, lines = type(error).__name__, str(error).strip().splitlines()
    return f"{kind}: {harmless(lines[0])}" if lines else kind


def harmless(text: object) -> str:
    """Escape the control characters of foreign text, so that it cannot move the cursor or forge a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(text))
