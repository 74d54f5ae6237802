"""What the router's process for computations does with a study: read it, classify it, write the results as DICOM."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covid_bert.errors import InputError, MissingSlicesError, MixedSeriesError, TooFewSlicesError
from covid_bert.progress import Progress
from covid_bert.volumes import Volume, read
from covid_bert.volumes.dicom_files import read_header_of
from covid_bert.volumes.dicom_headers import files_below

# Lungs are at least as high; slices of one position or of a knee are no chest.
_LEAST_HEIGHT_MM = 120.0
_SAME_HEIGHT_MM = 20.0
# What may be mended by slices that are still to come.
INCOMPLETE = (MissingSlicesError, TooFewSlicesError)
_COUNTS = ("SeriesInstanceUID", "AcquisitionNumber", "ImagesInAcquisition", "NumberOfSeriesRelatedInstances")


@dataclass(frozen=True)
class Classifying:
    """How studies are classified; picklable, and called once in the process that does it.

    Parameters
    ----------
    system, configuration
        As for `covid_bert.systems.create`.
    lungs, device
        As for `covid_bert.systems.create`.
    """

    system: str
    configuration: str | None
    lungs: str
    device: str

    def __call__(self) -> Callable[[dict[str, Any], Progress, Path], tuple[dict[str, Path], dict[str, Any]]]:
        """Return what computes: see `covid_bert.workers.Compute`."""
        from covid_bert.systems import create

        @functools.cache
        def made(where: str) -> Any:
            return create(self.system, self.configuration, device=where, lungs=self.lungs)

        return functools.partial(compute, functools.partial(write_results, made, self.device))


def compute(
    write: Callable[[Volume, Progress, Path], dict[str, Path]],
    request: dict[str, Any],
    progress: Progress,
    folder: Path,
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Read a study, and have it classified unless it is what it was.

    Parameters
    ----------
    write
        Called as ``write(volume, progress, folder)``; returns the results by kind.
    request
        ``study`` is its folder, ``known`` what its last result is about, and ``forced`` whether the slices that are
        there shall do.
    progress
        Receives stage and fraction.
    folder
        For the results.

    Returns
    -------
    files
        By kind; none where the study is what it was. They are stored in the order of their names.
    params
        ``answer`` is what the result is about, ``seconds`` those of each stage.

    Raises
    ------
    CovidBertError
        If the study cannot be classified now, or at all.
    """
    with progress.stage("reading"):
        volume = read_chest(Path(request["study"]), forced=request["forced"])
    answer = f"{volume.identifier}-{hashlib.sha256(volume.source.series_instance_uid.encode()).hexdigest()[:16]}"
    if answer == request["known"]:
        return {}, {"answer": answer}
    files = write(volume, progress, folder)
    return files, {"answer": answer, "seconds": progress.seconds}


def write_results(
    made: Callable[[str], Any], device: str, volume: Volume, progress: Progress, folder: Path
) -> dict[str, Path]:
    """Classify a volume and write its DICOM objects, named in the order in which they are to be stored.

    Parameters
    ----------
    made
        Gives the system on a device.
    device
        As for `covid_bert.systems.create`.
    volume
        Read from DICOM files that are still there.
    progress
        Receives stage and fraction.
    folder
        For the objects.

    Returns
    -------
    dict of str to Path
        By kind.
    """
    from covid_bert.report.dicom import dicom_results, read_source, write_objects
    from covid_bert.systems.memory import on_card_or_processor

    source = read_source(volume)
    classification = on_card_or_processor(
        volume, device, lambda study, where: made(where).classify(study, progress=progress)
    )
    provenance = classification.result.provenance
    with progress.stage("dicom"):
        objects = dicom_results(source, volume, classification)
        paths = write_objects(objects, folder, f"{provenance.system}-{provenance.configuration}")
    return {
        kind: path.rename(path.with_name(f"{number}-{path.name}"))
        for number, (kind, path) in enumerate(zip(objects, paths, strict=True))
    }


def read_chest(folder: Path, *, forced: bool = False) -> Volume:
    """Read the chest CT of a study that may have several series.

    Of several, the highest is taken; of those that are about as high, the one with the thinnest slices; then the one
    with the lowest number.

    Parameters
    ----------
    folder
        All files of the study.
    forced
        Whether to take another series where one lacks slices, and not to ask how many there should be.

    Raises
    ------
    MissingSlicesError, TooFewSlicesError
        If slices are missing: there are gaps, or fewer than the files say.
    InputError
        If there is no chest CT; that of the best series, if none of them can be read.
    """
    try:
        volume = read(folder)
    except MixedSeriesError as error:
        candidates = sorted(filter(_may_be_chest, error.details.get("series", ())), key=_rank)
        if not candidates:
            raise
        volume = _first_readable(folder, [series["series_instance_uid"] for series in candidates], forced=forced)
    if not forced:
        _check_counts(folder, volume)
    return volume


def _first_readable(folder: Path, series: list[str], *, forced: bool) -> Volume:
    first: InputError | None = None
    for each in series:
        try:
            return read(folder, series=each)
        except InputError as error:
            if isinstance(error, INCOMPLETE) and not forced:
                raise
            first = first or error
    assert first is not None
    raise first


def _may_be_chest(series: dict[str, Any]) -> bool:
    return series["spacing"] is not None and _height(series) >= _LEAST_HEIGHT_MM


def _height(series: dict[str, Any]) -> float:
    return float(series["spacing"] * series["slices"])


def _rank(series: dict[str, Any]) -> tuple[Any, ...]:
    number = str(series["number"])
    return (
        -round(_height(series) / _SAME_HEIGHT_MM),
        series["spacing"],
        int(number) if number.isdecimal() else 10**9,
        number,
        series["series_instance_uid"],
    )


def _check_counts(folder: Path, volume: Volume) -> None:
    """Refuse a series with fewer images than its files say that there are, of the series or of the acquisition."""
    acquired: Counter[str] = Counter()
    stated: dict[str, int] = {}
    own = related = 0
    for path in files_below(folder):
        header = read_header_of(path, _COUNTS)
        acquisition = str(header.get("AcquisitionNumber", ""))
        acquired[acquisition] += 1
        if str(header.get("SeriesInstanceUID", "")) != volume.source.series_instance_uid:
            continue
        own += 1
        related = max(related, _count(header.get("NumberOfSeriesRelatedInstances")))
        stated[acquisition] = max(stated.get(acquisition, 0), _count(header.get("ImagesInAcquisition")))
    missing = max(related - own, *(count - acquired[name] for name, count in stated.items()), 0)
    # One file with all frames counts as one image.
    if missing > 0 and not any(volume.source.frame_numbers):
        raise MissingSlicesError(
            f"{missing} image(s) are missing: the files say how many there should be.",
            "Send the whole study again; `covid-bert route retry` takes what is there.",
            missing=missing,
        )


def _count(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0
