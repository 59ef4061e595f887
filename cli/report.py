"""`advkit report`: the results of a run in the terms of a document for auditors."""

import json

import click

from advkit.evaluation.audit import audit_markdown, make_audit


def run(run: str, profile: str, form: str) -> None:
    """Do what the command says."""
    audit = make_audit(run, profile)
    click.echo(json.dumps(audit, indent=1, allow_nan=False) if form == "json" else audit_markdown(audit).rstrip("\n"))
