"""The command line, called in this process."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from covid_bert import cli
from covid_bert.errors import CovidBertError


def run(*arguments: str | Path) -> tuple[int, str]:
    """Run in this process, so that small networks can stand in for the published ones."""
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    if isinstance(result.exception, CovidBertError):
        return result.exception.exit_code, f"{result.output}{result.exception.message} {result.exception.hint}"
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output
