"""`advkit merge`: the shards of one evaluation as one run."""

from pathlib import Path

import click

from advkit.cli._console import percent, say
from advkit.evaluation.merging import merge_runs


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="DIR", required=True, help="Folder of the joined run."
)
def command(runs: tuple[str, ...], output: Path) -> None:
    """Join the runs of advkit evaluate --shard I/N, in any order, as the run that one process would have made.

    \b
    advkit merge runs/shard-* --output runs/all
    """
    report = merge_runs(runs, output=output).report
    low, high = report.adversarial_error_interval
    say(
        f"{len(runs)} runs joined in {output}: {report.count:,} images, worst case {percent(report.adversarial_error)} "
        f"(95 % interval {percent(low)} to {percent(high)})"
    )
