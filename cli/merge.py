"""`advkit merge`: the shards of one evaluation as one run."""

from pathlib import Path

from advkit.cli._console import percent, say
from advkit.evaluation.merging import merge_runs


def run(runs: tuple[str, ...], output: Path) -> None:
    """Do what the command says."""
    report = merge_runs(runs, output=output).report
    low, high = report.adversarial_error_interval
    say(
        f"{len(runs)} runs joined in {output}: {report.count:,} images, worst case {percent(report.adversarial_error)} "
        f"(95 % interval {percent(low)} to {percent(high)})"
    )
