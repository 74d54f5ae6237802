"""`covid-bert demo`: real sample studies through a live server, with a picture and a JSON of each result."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from covid_bert import DEMONSTRATION_MODEL, RESEARCH_USE_ONLY
from covid_bert.commands.classify import outcome
from covid_bert.errors import NotFoundError, ServerError
from covid_bert.files import write_atomically
from covid_bert.lesions import LesionMask, why_not
from covid_bert.lungs.mask import LungMask
from covid_bert.report import study_picture
from covid_bert.server.launch import require_monailabel, running_server
from covid_bert.systems import SYSTEMS, Classification, StudyResult
from covid_bert.volumes import Volume, read, read_map, read_mask

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class SampleStudy:
    """One study of the sample data that holds whole lungs."""

    name: str
    path: Path
    description: str

    @classmethod
    def all_of(cls, data: Path) -> list[SampleStudy]:
        """Read the manifest of the sample data.

        Raises
        ------
        NotFoundError
            If it is not there.
        """
        manifest = data / MANIFEST
        if not manifest.exists():
            raise NotFoundError(
                f"There is no sample data in {data.name}.", "Run `make demo` in the project's folder, or give --data."
            )
        content = json.loads(manifest.read_text(encoding="utf-8"))
        return [
            cls(item["name"], data / item["path"], item["description"])
            for item in content["studies"]
            if item["contains_whole_lungs"]
        ]


def demo(data: Path, out: Path, console: Console) -> None:
    """Run the demonstration.

    Parameters
    ----------
    data
        Sample data with its manifest.
    out
        Folder for the results and the server's log.
    console
        Where to say what happens.

    Raises
    ------
    NotFoundError
        If the sample data is missing.
    ServerError
        If the server does not start, or an inference fails.
    """
    require_monailabel()
    samples = SampleStudy.all_of(data)
    results = out / "results"
    results.mkdir(parents=True, exist_ok=True)
    table = Table(title="Results", caption=RESEARCH_USE_ONLY)
    for column in ("study", "system", "result", "seconds"):
        table.add_column(column, overflow="fold")
    console.print("Starting the MONAI Label server with the covid-bert app ...")
    with tempfile.TemporaryDirectory(prefix="covid-bert-demo-") as folder:
        studies = Path(folder)
        for sample in samples:
            _offer(sample, studies)
        with running_server(studies, out / "server.log") as url:
            _ask(url, samples, results, table, console)
    console.print(table)
    console.print(
        f"Pictures (.png), results (.json), masks and location maps (.nii.gz) are in {results}.", highlight=False
    )


def _ask(url: str, samples: list[SampleStudy], results: Path, table: Table, console: Console) -> None:
    from monailabel.client import MONAILabelClient

    client = MONAILabelClient(url, tmpdir=str(results))
    info = client.info()
    console.print(f"{url} offers {', '.join(info['models'])}", highlight=False)
    for sample in samples:
        console.print(f"[bold]{sample.name}[/bold]: {sample.description}", highlight=False)
        volume = read(sample.path)
        lungs = _lungs(client, sample, volume, results, console)
        lesions = _lesions(client, sample, volume, results, console)
        for system in SYSTEMS:
            result = _classified(client, sample, system, volume, lungs, lesions, results)
            seconds = sum(result.provenance.seconds.values())
            table.add_row(sample.name, system, outcome(result), f"{seconds:.1f}")
            if DEMONSTRATION_MODEL in result.warnings:
                table.caption = f"{DEMONSTRATION_MODEL} {RESEARCH_USE_ONLY}"


def _offer(sample: SampleStudy, studies: Path) -> None:
    if sample.path.is_dir():
        shutil.copytree(sample.path, studies / sample.name)
    else:
        shutil.copy(sample.path, studies / f"{sample.name}{''.join(sample.path.suffixes[-2:])}")


def _infer(client: Any, model: str, study: str, parameters: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    try:
        image, reply = client.infer(model=model, image_id=study, params=parameters)
    except Exception as error:
        raise ServerError(f"The model {model} failed on {study}: {error}", "Read server.log.") from error
    return Path(image), reply


def _lungs(client: Any, sample: SampleStudy, volume: Volume, results: Path, console: Console) -> LungMask:
    image, reply = _infer(client, "lungs", sample.name, {})
    path = results / f"{sample.name}.lungs.nii.gz"
    shutil.move(image, path)
    sides = {side: f"{value:.0f} ml" for side, value in reply["lung_volume_ml"].items() if value is not None}
    console.print(f"  lungs: {', '.join(f'{side} {value}' for side, value in sides.items())}", highlight=False)
    return LungMask(read_mask(path, volume), reply["method"])


def _lesions(
    client: Any, sample: SampleStudy, volume: Volume, results: Path, console: Console
) -> npt.NDArray[np.uint8] | None:
    """The mask of the lesions; None where the server, which runs on this installation too, cannot make one."""
    reason = why_not(volume)
    if reason is not None:
        console.print(f"  lesions: {reason}", highlight=False)
        return None
    image, reply = _infer(client, "lesions", sample.name, {})
    path = results / f"{sample.name}.lesions.nii.gz"
    shutil.move(image, path)
    found = reply["lesions"]
    console.print(f"  lesions: {found['total_ml']:.0f} ml, {found['share']:.1%} of the lungs", highlight=False)
    return read_mask(path, volume)


def _classified(
    client: Any,
    sample: SampleStudy,
    system: str,
    volume: Volume,
    lungs: LungMask,
    lesions: npt.NDArray[np.uint8] | None,
    results: Path,
) -> StudyResult:
    image, reply = _infer(client, f"covid_{system}", sample.name, {"reply_image": "location"})
    stem = f"{sample.name}.{system}"
    path = results / f"{stem}.location.nii.gz"
    shutil.move(image, path)
    location = read_map(path, volume).astype(np.uint8)
    result = StudyResult.model_validate(reply["result"])
    write_atomically(results / f"{stem}.json", result.model_dump_json(indent=2) + "\n")
    # The map that the server sends is the lesion network's probability where that network takes part.
    found = LesionMask(lesions, location, result.lesions.method) if lesions is not None and result.lesions else None
    classification = Classification(result, lungs, location, found)
    study_picture(volume, classification, results / f"{stem}.png")
    return result
