"""The model card: `docs/model-card.md` and its figures, made from a measurement.

`python -m covid_bert.evaluation.model_card OUT docs` writes it anew from the output folder of
`covid-bert evaluate default`, without measuring again.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import ValidationError

from covid_bert import DEMONSTRATION_MODEL
from covid_bert.errors import CovidBertError, NotFoundError, OutputError, UnreadableFileError
from covid_bert.evaluation import card_tables as tables
from covid_bert.evaluation.card_figures import overview_figure
from covid_bert.evaluation.default_model import MEASUREMENT_FILE, PICTURES
from covid_bert.evaluation.results import Measurement, StudyRow
from covid_bert.evaluation.studies import Condition
from covid_bert.evaluation.study_measurement import INFECTED
from covid_bert.files import write_atomically

CARD_FILE = "model-card.md"
FIGURES = "default-model"
OVERVIEW = "overview.png"
_CHANCE = 0.05  # from this p-value on, telling the source is not put down to chance
_FEW_PATIENTS = 30  # below it, a bootstrap interval is too narrow


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
        Gets ``model-card.md`` and the folder ``default-model``, whose old pictures and measurement are removed.

    Raises
    ------
    NotFoundError, UnreadableFileError
        If the measurement is missing or damaged.
    OutputError
        If the card cannot be written.
    """
    measurement = published(read_measurement(output / MEASUREMENT_FILE))
    try:
        figures = docs / FIGURES
        figures.mkdir(parents=True, exist_ok=True)
        for old in figures.iterdir():
            if old.suffix in {".png", ".json"}:
                old.unlink()
        overview_figure(measurement, figures / OVERVIEW)
        for row in measurement.studies:
            for name in row.pictures:
                write_atomically(figures / name, (output / PICTURES / name).read_bytes())
        write_atomically(figures / MEASUREMENT_FILE, measurement.model_dump_json(indent=1) + "\n")
        card = docs / CARD_FILE
        write_atomically(card, render(measurement))
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


def render(measurement: Measurement) -> str:
    """Return the card as Markdown; the same measurement always gives the same text."""
    parts = [
        _introduction(measurement),
        _targets(measurement),
        _results(measurement),
        _classification(measurement),
        _sources(measurement),
        _limits(measurement),
        _pictures(measurement),
        _repeating(measurement),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _introduction(measurement: Measurement) -> str:
    demonstration = any(item.demonstration for item in measurement.weights)
    notes = [f"**{warning}**" for warning in measurement.warnings]
    if demonstration:
        notes.append(f"**{DEMONSTRATION_MODEL}**")
    return f"""
# Model card: the default model

{" ".join([*notes, measurement.research_use_only])}

The default model is what the program uses without a download: small networks that outline the lungs, mark
ground-glass and consolidation in them, and score a chest CT for COVID-19. The tables and figures here are written by
`covid-bert evaluate default` from [measurement.json]({FIGURES}/{MEASUREMENT_FILE})
(version {measurement.software_version}, {measurement.created:%Y-%m-%d}); nothing is typed in by hand.

Meant for: trying the program, teaching, and as a first version to be trained further on data of one's own. Not meant
for: patients, triage, or any statement about a person.

## Weights

{tables.weights_table(measurement) if measurement.weights else "No weights took part."}"""


def _targets(measurement: Measurement) -> str:
    judged = [target for target in measurement.targets if target.reached is not None]
    reached = sum(bool(target.reached) for target in judged)
    return f"""
## Targets

Of {len(measurement.targets)} stated targets, {len(judged)} could be measured; the default model reaches {reached} of
these.

{tables.targets_table(measurement.targets)}"""


def _results(measurement: Measurement) -> str:
    rows = measurement.studies
    patients = len({row.patient for row in rows if not row.training_source})
    caution = " Intervals drawn over so few are narrower than the truth." if patients < _FEW_PATIENTS else ""
    failed = tables.failures(rows)
    failures = "\n".join(f"- {line}" for line in failed) if failed else "Nothing failed."
    return f"""
## Results

External studies are of sources that training could not use. There are
{sum(not row.training_source for row in rows)} of them, of {patients} patients.{caution}

![Lesion share and Dice of each study.]({FIGURES}/{OVERVIEW})

{tables.findings_table(measurement.findings)}

### By source

{tables.sources_table(rows)}

### Study by study

Surface: symmetric mean distance of the surfaces of marked and drawn lesions. Pointing: share of the maxima of the
lesion probability that lies in a drawn lesion.

{tables.studies_table(rows)}

{_remarks(rows)}

### Slices

The score of a slice is the share of its lung that is marked as lesion; slices without lung do not count. Without a
network: the share of its lung that is denser than -700 HU. Flagged: a share of 1 % or more.

{tables.slices_table(rows)}

### What failed

{failures}"""


def _remarks(rows: list[StudyRow]) -> str:
    return "\n".join(f"- {row.name}: {row.remark}." for row in rows if row.remark)


def _classification(measurement: Measurement) -> str:
    rows = measurement.studies
    if not any(row.classifications for row in rows):
        text = "No classification system has weights, so none was measured."
    else:
        text = f"""Scores are not probabilities; a probability stands only where the weights carry a calibration and the
study is like those of the training. Lungs replaced: the same study with even, noisy tissue of -860 HU in the lungs. A
score that does not fall then rests on something else than the lungs.

{tables.classification_table(rows)}"""
    lines = [
        f"- {row.name}: {tables.percent(row.lesions.share if row.lesions else None)}, then "
        f"{tables.percent(row.blanked_lesion_share)}"
        for row in rows
        if row.blanked_lesion_share is not None
    ]
    replaced = "Lesion share of infected studies, and what is left of it with their lungs replaced:"
    return "\n\n".join(["## Classification", text, *([replaced, "\n".join(lines)] if lines else [])])


def _sources(measurement: Measurement) -> str:
    mixed = sorted(
        source
        for source in {row.source for row in measurement.studies}
        if any(row.source == source and row.condition in INFECTED for row in measurement.studies)
        and any(row.source == source and row.condition is Condition.NO_PNEUMONIA for row in measurement.studies)
    )
    both = f"only {', '.join(mixed)} has" if len(mixed) == 1 else f"{', '.join(mixed) or 'none'} have"
    text = f"""## Condition and source

Most sources hold one condition only: of {len({row.source for row in measurement.studies})} sources, {both} both
infected studies and studies without pneumonia. A number that compares conditions across sources may therefore be one
that compares scanners. The table shows how often the source of a study can be told by the nearest centroid, the
studies of its patient left out, for sources with two patients or more."""
    if not measurement.source_tests:
        return f"{text}\n\nThere are too few studies for this test."
    told = [item.features for item in measurement.source_tests if item.p_value < _CHANCE]
    if told:
        verdict = (
            f"Better than chance it is told from: {'; '.join(told)}. Differences between the conditions are then, at "
            "least in part, differences between sources."
        )
    else:
        verdict = "From none of these it is told better than chance; with so few studies that is no proof of absence."
    return f"{text}\n\n{tables.sources_test_table(measurement)}\n\n{verdict}"


def _limits(measurement: Measurement) -> str:
    absent = "\n".join(f"- {item.name}: {item.reason}" for item in measurement.not_measured)
    return f"""
## What it cannot do

- It says nothing about a patient: it was not tested on a clinical population, and COVID-19 cannot be told from other
  causes of ground-glass and consolidation by CT alone.
- Children, lungs after surgery, pleural effusions and motion were not looked at.
- Tumours, atelectasis and scars are dense as consolidation is, and may be marked.
- A lesion that the lung mask leaves out is not marked.
- It takes Hounsfield units. Gray-level pictures, single slices and radiographs are not measured here.

### Not measured

{absent or "Everything that is known was there."}"""


def _pictures(measurement: Measurement) -> str:
    shown = [
        f"![{row.name}, {'largest errors' if '.errors.' in name else 'slices through the lungs'}]({FIGURES}/{name})"
        for row in measurement.studies
        for name in row.pictures
    ]
    if not shown:
        return ""
    return "\n\n".join(["## Pictures", "Of studies that may be redistributed; see `sample-data` for licences.", *shown])


def _repeating(measurement: Measurement) -> str:
    return f"""
## How to repeat

    covid-bert evaluate default --data FOLDER --out FOLDER --card docs

`--data` holds the data sets as subfolders (`apps/covid_bert/evaluation/sources.py` names the files); missing ones are
left out and named above. The run took {measurement.seconds / 60:.0f} minutes."""


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
