"""The text of the model card, in Markdown, from a measurement."""

from __future__ import annotations

from covid_bert.evaluation import card_tables as tables
from covid_bert.evaluation.default_model import MEASUREMENT_FILE
from covid_bert.evaluation.problems import failures, warnings_of
from covid_bert.evaluation.results import Measurement, StudyRow
from covid_bert.evaluation.studies import Condition
from covid_bert.evaluation.study_measurement import INFECTED
from covid_bert.weights.identity import demonstration_warnings

FIGURES = "default-model"
OVERVIEW = "overview.png"
_CHANCE = 0.05  # from this p-value on, telling the source is not put down to chance
_FEW_PATIENTS = 30  # below it, a bootstrap interval is too narrow


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
    notes = [f"**{warning}**" for warning in (*measurement.warnings, *demonstration_warnings(measurement.weights))]
    classified = any(row.classifications for row in measurement.studies)
    score = ", and score a chest CT for COVID-19" if classified else ""
    return f"""
# Model card: the default model

{" ".join([*notes, measurement.research_use_only])}

The default model is what the program uses without a download: small networks that outline the lungs and mark
ground-glass and consolidation in them{score}. The tables and figures here are written by
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
    failed = _listed(failures(rows), "Nothing failed.")
    warned = _listed(warnings_of(measurement), "Nothing was warned of.")
    return f"""
## Results

External studies are of sources that training could not use. There are
{sum(not row.training_source for row in rows)} of them, of {patients} patients.{caution}

These numbers are optimistic: versions of the generator and of the networks were compared on the external studies, and
densities and sizes of the planted lesions follow statistics of the lesion masks of MedSeg (`lesion_statistics.json`).
No image of MedSeg was trained on.

![Lesion share and Dice of each study.]({FIGURES}/{OVERVIEW})

{tables.findings_table(measurement.findings)}

### By source

{tables.sources_table(rows)}

### Study by study

Right, left: Dice of each lung, where sides were drawn. Lesion kept: share of the drawn lesion inside the lung mask.
Surface: symmetric mean distance of the surfaces of marked and drawn lesions. Pointing: share of the voxels with the
largest lesion probability that lie in a drawn lesion. Seconds: lungs and lesions by the default methods.

{tables.studies_table(rows)}

{_remarks(rows)}

### Slices

The score of a slice is the area of lesion to be expected in it, the sum of the probabilities, or the share of its lung
that is marked; slices without lung do not count. The area was preferred after several scores had been seen on these
very studies: where little lung is left, near apex and diaphragm, the share is unsteady. Without a network: the area of
lung that is denser than -700 HU. Flagged: a share of 1 % or more. Intervals are those of other slices of the same
patient, in blocks of 20 mm; they do not speak of other patients.

{tables.slices_table(rows)}

### What failed

{failed}

### Warnings

{warned}"""


def _listed(lines: list[str], nothing: str) -> str:
    return "\n".join(f"- {line}" for line in lines) or nothing


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
        if calibrated := tables.calibration_lines(rows):
            text += "\n\n" + "\n".join(calibrated)
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
    verdict = " ".join(_source_verdicts(measurement))
    return f"{text}\n\n{tables.sources_test_table(measurement)}\n\n{verdict}"


def _source_verdicts(measurement: Measurement) -> list[str]:
    """What follows from the tests of sources; only that of the images speaks of scanners."""
    told = [item for item in measurement.source_tests if item.p_value < _CHANCE]
    verdicts = []
    if any(item.of_images for item in told):
        verdicts.append(
            "From its images the source is told better than chance. Differences between the conditions may then be, at "
            "least in part, differences between sources."
        )
    elif any(item.of_images for item in measurement.source_tests):
        verdicts.append(
            "From its images the source is told no better than chance; with so few studies that is no proof of absence."
        )
    if any(not item.of_images for item in told):
        verdicts.append(
            "That it is also told from what was found in the studies is expected where sources differ in condition."
        )
    return verdicts


def _limits(measurement: Measurement) -> str:
    absent = "\n".join(f"- {item.name}: {item.reason}" for item in measurement.not_measured)
    return f"""
## What it cannot do

- It says nothing about a patient: it was not tested on a clinical population, and COVID-19 cannot be told from other
  causes of ground-glass and consolidation by CT alone.
- It does not tell pneumonias apart: planted bacterial-like lesions taught it little about real ones, and another
  pneumonia may well get a high score for COVID-19 (cap001). COVID-19 of one lobe may get a low one (MedSeg case 2).
- Small nodules along the airways are marked in part only (cap001). A loop of bowel under the diaphragm that the lung
  mask takes for lung is marked (P001). Single solid nodules are not meant to be marked.
- Children, lungs after surgery, pleural effusions and motion were not looked at.
- Tumours, atelectasis and scars are dense as consolidation is, and may be marked.
- A lesion that the lung mask leaves out is not marked.
- It takes Hounsfield units. Gray-level pictures, single slices and radiographs are not measured here.

### Not measured

{absent or "Everything that is known was there."}"""


def _pictures(measurement: Measurement) -> str:
    shown = [
        f"![{row.name}, {_shown(row, name)}]({FIGURES}/{name})" for row in measurement.studies for name in row.pictures
    ]
    if not shown:
        return ""
    text = """All pictures are of sources that training could use, so they may look better than external ones would;
pictures of other sources may not be shown. See `sample-data` for licences."""
    return "\n\n".join(["## Pictures", text, *shown])


def _shown(row: StudyRow, name: str) -> str:
    if ".errors." not in name:
        return "slices through the lungs"
    # Nobody looked for lesions in a study that is only assumed to hold none.
    return "largest errors" if row.condition_stated else "largest marked areas"


def _repeating(measurement: Measurement) -> str:
    return f"""
## How to repeat

    covid-bert evaluate default --data FOLDER --out FOLDER --card docs

`--data` holds the data sets as subfolders (`apps/covid_bert/evaluation/sources.py` names the files); missing ones are
left out and named above. The run took {measurement.seconds / 60:.0f} minutes."""
