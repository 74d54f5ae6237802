"""The model card: `docs/model-card.md` and its figures, made from a measurement.

`python -m covid_bert.evaluation.model_card OUT docs` writes it anew from the output folder of
`covid-bert evaluate default`, without measuring again.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import ValidationError

from covid_bert.errors import CovidBertError, NotFoundError, OutputError, UnreadableFileError
from covid_bert.evaluation.card_figures import overview_figure
from covid_bert.evaluation.card_text import FIGURES, OVERVIEW, render
from covid_bert.evaluation.default_model import MEASUREMENT_FILE, PICTURES
from covid_bert.evaluation.results import Measurement
from covid_bert.files import write_atomically

CARD_FILE = "model-card.md"


def read_measurement(path: Path) -> Measurement:
    """Read a measurement.

    Raises
    ------
    NotFoundError
        If there is none.
    UnreadableFileError
        If it is not one, or of another version.
    """
    if not path.exists():
        raise NotFoundError(f"'{path.name}' does not exist.", "Run `covid-bert evaluate default` first.")
    try:
        return Measurement.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        message = f"'{path.name}' is not a measurement of this version."
        raise UnreadableFileError(message, "Run `covid-bert evaluate default` again.") from error


def write_card(output: Path, docs: Path) -> Path:
    """Write the card, its figures, and the measurement that all its numbers come from.

    Pictures are taken of studies that may be redistributed, and no others; the labels of slices are left out.

    Parameters
    ----------
    output
        Folder that `covid_bert.evaluation.default_model.measure` wrote.
    docs
        Gets ``model-card.md`` and the folder ``default-model``, whose other pictures are removed once all is written.

    Raises
    ------
    NotFoundError, UnreadableFileError
        If the measurement is missing or damaged.
    OutputError
        If the card cannot be written.
    """
    measurement = published(read_measurement(output / MEASUREMENT_FILE))
    try:
        # All is read before anything is replaced: a measurement without its pictures must leave the old card whole.
        pictures = {
            name: (output / PICTURES / name).read_bytes() for row in measurement.studies for name in row.pictures
        }
        figures = docs / FIGURES
        figures.mkdir(parents=True, exist_ok=True)
        for name, content in pictures.items():
            write_atomically(figures / name, content)
        overview_figure(measurement, figures / OVERVIEW)
        write_atomically(figures / MEASUREMENT_FILE, measurement.model_dump_json(indent=1) + "\n")
        card = docs / CARD_FILE
        write_atomically(card, render(measurement))
        for old in figures.glob("*.png"):
            if old.name not in {OVERVIEW, *pictures}:
                old.unlink()
    except OSError as error:
        raise OutputError(
            f"The model card cannot be written: {error.strerror or type(error).__name__}.",
            "Check that the folder may be written and that the pictures of the measurement are still there.",
        ) from error
    return card


def published(measurement: Measurement) -> Measurement:
    """Leave out what belongs to sets that may not be redistributed: their pictures, and the labels of their slices."""
    studies = []
    for row in measurement.studies:
        if not row.redistributable:
            lesions = row.lesions
            if lesions is not None and lesions.slices is not None:
                slices = lesions.slices.model_copy(update={"labels": []})
                lesions = lesions.model_copy(update={"slices": slices})
            studies.append(row.model_copy(update={"pictures": [], "lesions": lesions}))
        else:
            studies.append(row)
    return measurement.model_copy(update={"studies": studies})


def main(arguments: list[str]) -> int:
    """Run as a program: output folder of a measurement, folder of the documentation."""
    if len(arguments) != 2:
        print("usage: python -m covid_bert.evaluation.model_card OUT DOCS", file=sys.stderr)
        return 2
    try:
        write_card(Path(arguments[0]), Path(arguments[1]))
    except CovidBertError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
