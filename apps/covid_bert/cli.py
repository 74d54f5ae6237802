"""The command line. Commands import what they need when they run, so that `--help` answers at once.

Exit codes: 0 success; 1 unexpected error; 2 wrong parameter or usage; 3 study cannot be used; 4 not found; 5 weights;
6 busy; 7 out of memory; 8 missing program; 9 server; 10 some of several studies failed; 11 cannot write; 130 cancelled.
"""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from covid_bert import RESEARCH_USE_ONLY, __version__
from covid_bert.cli_groups import console, evaluate_app, token_app, weights_app
from covid_bert.cli_operations import operations_app
from covid_bert.cli_training import train_app
from covid_bert.errors import CovidBertError, OutputError

app = typer.Typer(
    name="covid-bert",
    help=f"Classify chest CT studies with 3D CNN-BERT, segment lungs, and serve both. {RESEARCH_USE_ONLY}",
    epilog=(
        "Exit codes: 0 success, 1 unexpected, 2 wrong parameter, 3 study cannot be used, 4 not found, 5 weights, "
        "6 busy, 7 out of memory, 8 missing program, 9 server, 10 some studies failed, 11 cannot write, 130 cancelled."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(weights_app, name="weights")
app.add_typer(train_app, name="train")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(token_app, name="token")
app.add_typer(operations_app)


INTERRUPTED = 130


class SystemName(str, Enum):
    """Systems that can be asked for; a test holds them equal to the registry."""

    S1 = "s1"
    S2 = "s2"
    BASELINE = "baseline"


class ConfigurationName(str, Enum):
    """Configurations of the systems."""

    SMALL = "small"
    CORRECTED = "corrected"
    PUBLISHED = "published"


class LungsMethod(str, Enum):
    """Lung segmentation methods."""

    AUTO = "auto"
    UNET = "unet"
    MORPHOLOGICAL = "morphological"
    R231 = "r231"


class PatternName(str, Enum):
    """Patterns of synthetic studies; a test holds them equal to the generator's."""

    NONE = "none"
    COVID_LIKE = "covid-like"
    BACTERIAL_LIKE = "bacterial-like"
    BRONCHOPNEUMONIA = "bronchopneumonia"
    CONSOLIDATION = "consolidation"


class Structure(str, Enum):
    """What `segment` can draw."""

    LUNGS = "lungs"
    LESIONS = "lesions"


class MaskSuffix(str, Enum):
    """Formats of a written mask."""

    NIFTI = ".nii.gz"
    NRRD = ".nrrd"
    METAIMAGE = ".mha"


Inputs = Annotated[
    list[Path],
    typer.Argument(help="Studies: NIfTI, NRRD or MetaImage files, DICOM folders or zips, folders of slice images."),
]
Out = Annotated[Path, typer.Option(help="Folder for the results.")]
Lungs = Annotated[LungsMethod, typer.Option(help="Method that segments the lungs.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Series = Annotated[str | None, typer.Option(help="SeriesInstanceUID or SeriesNumber, for DICOM folders with several.")]
Report = Annotated[Path | None, typer.Option(help="Write a manifest of the run: versions, device, weights, seconds.")]


@app.command()
def classify(
    paths: Inputs,
    system: Annotated[list[SystemName], typer.Option(help="System; may be given several times.")] = [SystemName.S1],  # noqa: B006
    configuration: Annotated[
        ConfigurationName | None,
        typer.Option(help="small: the default model; corrected or published: the papers' networks."),
    ] = None,
    out: Out = Path("results"),
    lungs: Lungs = LungsMethod.AUTO,
    device: Device = "auto",
    series: Series = None,
    report: Report = None,
    dicom: Annotated[
        Path | None,
        typer.Option(help="Folder for the results as DICOM: SEG, SR, PDF and picture. Studies must be DICOM."),
    ] = None,
) -> None:
    """Classify studies: JSON, picture, masks of lungs and lesions and location map of each.

    Finished studies are skipped when the command is given again; a bad study does not stop the others.
    """
    from covid_bert.commands.classify import classify as run

    raise typer.Exit(
        run(
            paths,
            [name.value for name in system],
            configuration=configuration.value if configuration is not None else None,
            out=out,
            device=device,
            lungs_method=lungs.value,
            series=series,
            report=report,
            dicom=dicom,
            console=console(),
        )
    )


@app.command()
def segment(
    paths: Inputs,
    structure: Annotated[Structure, typer.Option(help="lungs, or ground-glass and consolidation in them.")] = (
        Structure.LUNGS
    ),
    out: Out = Path("results"),
    lungs: Lungs = LungsMethod.AUTO,
    device: Device = "auto",
    suffix: Annotated[MaskSuffix, typer.Option(help="Format of the masks.")] = MaskSuffix.NIFTI,
    series: Series = None,
    report: Report = None,
) -> None:
    """Segment lungs or lesions of studies: a mask on each study's own grid, and volumes."""
    from covid_bert.commands.segment import segment as run

    raise typer.Exit(
        run(
            paths,
            structure.value,
            out=out,
            lungs_method=lungs.value,
            device=device,
            suffix=suffix.value,
            series=series,
            report=report,
            console=console(),
        )
    )


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results and the server's log.")] = Path("demo-output"),
    data: Annotated[Path, typer.Option(help="Folder of sample studies with its manifest.")] = Path("sample-data"),
) -> None:
    """Start the server, classify real sample studies through it, and write picture and JSON of each result."""
    from covid_bert.commands.demo import demo as run

    run(data, out, console())


@app.command()
def serve(
    studies: Annotated[str | None, typer.Option(help="Folder with the studies, or address of DICOMweb.")] = None,
    pacs_credentials: Annotated[Path | None, typer.Option(help="TOML file: user and password, or token.")] = None,
    pacs_certificate: Annotated[Path | None, typer.Option(help="PEM file that the archive's is checked with.")] = None,
    pacs_cache_megabytes: Annotated[int | None, typer.Option(help="Most images of it kept here (20480).")] = None,
    pacs_cache_hours: Annotated[float | None, typer.Option(help="How long unused ones are kept (168).")] = None,
    pacs_refresh_seconds: Annotated[float | None, typer.Option(help="Between looks at its list (5).")] = None,
    configuration: Annotated[Path | None, typer.Option(help="TOML file with any of these settings.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (8000).")] = None,
    tokens_file: Annotated[Path | None, typer.Option(help="File with the tokens, if not in the data folder.")] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM file; with --tls-key.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file without a passphrase.")] = None,
    allowed_host: Annotated[list[str] | None, typer.Option(help="Name by which clients call; repeatable.")] = None,
    allowed_origin: Annotated[list[str] | None, typer.Option(help="Web page that may call; repeatable.")] = None,
    trusted_proxy: Annotated[list[str] | None, typer.Option(help="Address of a proxy; repeatable.")] = None,
    root_path: Annotated[str | None, typer.Option(help="Path that a proxy takes off, like /covid-bert.")] = None,
    body_megabytes: Annotated[int | None, typer.Option(help="Largest request with files (2048).")] = None,
    voxels_millions: Annotated[int | None, typer.Option(help="Largest study (400).")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Most from one address (1200).")] = None,
    queue_length: Annotated[int | None, typer.Option(help="Most jobs that wait or run (32).")] = None,
    job_minutes: Annotated[int | None, typer.Option(help="How long a job may be computed (60).")] = None,
    result_hours: Annotated[float | None, typer.Option(help="How long results of jobs are kept (24).")] = None,
    reservation_hours: Annotated[float | None, typer.Option(help="How long a study stays its reader's (12).")] = None,
    sessions: Annotated[int | None, typer.Option(help="Most uploaded studies at a time (32).")] = None,
    session_megabytes: Annotated[int | None, typer.Option(help="Most of all of them together (16384).")] = None,
    session_minutes: Annotated[int | None, typer.Option(help="How long an unused one is kept (60).")] = None,
    log_format: Annotated[str | None, typer.Option(help="json, text, or text on a terminal only (auto).")] = None,
    show_configuration: Annotated[bool, typer.Option("--show-configuration", help="Print what holds; end.")] = False,
    allow_insecure_network: Annotated[
        bool, typer.Option("--allow-insecure-network", help="Listen for other machines without tokens or TLS.")
    ] = False,
) -> None:
    """Run the server; in brackets what holds without the option. docs/server.md explains each setting."""
    settings = dict(locals())
    from covid_bert.commands.serve import serve as run

    own = {name: settings.pop(name) for name in ("configuration", "show_configuration", "allow_insecure_network")}
    settings["allowed_hosts"] = settings.pop("allowed_host") or None
    settings["allowed_origins"] = settings.pop("allowed_origin") or None
    settings["trusted_proxies"] = settings.pop("trusted_proxy") or None
    run(settings, **own)


@app.command()
def synthesize(
    study: Annotated[str, typer.Argument(help="A chest CT in HU, or 'phantom'.")],
    pattern: Annotated[PatternName, typer.Option(help="What is planted.")] = PatternName.COVID_LIKE,
    severity: Annotated[float, typer.Option(help="Above 0, at most 1: number and size of the lesions.")] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same study.")] = 0,
    count: Annotated[int, typer.Option(min=1, help="Studies to make; each takes the next seed.")] = 1,
    distractors: Annotated[bool, typer.Option(help="Also nodules, emphysema, motion, noise and the like.")] = True,
    out: Out = Path("synthetic"),
    lungs: Lungs = LungsMethod.AUTO,
    lungs_file: Annotated[Path | None, typer.Option(help="Lung mask of the study: 1 right, 2 left.")] = None,
) -> None:
    """Plant ground-glass and consolidation in a real chest CT: CT, masks, labels and picture."""
    from covid_bert.commands.synthesize import synthesize as run

    run(
        study,
        out=out,
        lungs_file=lungs_file,
        lungs_method=lungs.value,
        pattern=pattern.value,
        severity=severity,
        seed=seed,
        count=count,
        with_distractors=distractors,
        console=console(),
    )


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"covid-bert {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line: typed errors become a sentence, a hint and their exit code."""
    try:
        app()
    except CovidBertError as error:
        typer.secho(f"Error ({error.code}): {error.message}", fg="red", err=True)
        if error.hint:
            typer.echo(error.hint, err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if not isinstance(error.filename, str):
            raise
        # Its folder may be named after a patient.
        what = f"{Path(error.filename).name} cannot be read or written: {error.strerror}."
        typer.secho(f"Error ({OutputError.code}): {what}", fg="red", err=True)
        typer.echo("See who may use it and its folder, and as which user the command runs.", err=True)
        sys.exit(OutputError.exit_code)
    except SystemExit as end:
        # Ctrl-C outside of a batch, which has a sentence of its own, ends in silence otherwise.
        if end.code == INTERRUPTED:
            typer.echo("Cancelled.", err=True)
        raise


if __name__ == "__main__":
    main()
