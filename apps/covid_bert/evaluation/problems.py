"""What failed in a measurement, and what its stages warned of."""

from __future__ import annotations

from collections.abc import Sequence

from covid_bert.evaluation.results import Measurement, StudyRow
from covid_bert.lungs.unet import METHOD as DEFAULT_LUNG_METHOD
from covid_bert.volumes import Unit


def failures(rows: Sequence[StudyRow]) -> list[str]:
    """One line for each thing that failed, and for each study whose lungs were not found by the default network."""
    lines = []
    for row in rows:
        if row.error is not None:
            lines.append(f"{row.name}: {row.error}")
        lines += [f"{row.name}, lungs by {item.method}: {item.error}" for item in row.lungs if item.error is not None]
        found = row.default_lungs
        # The program falls back to morphology without an error: the numbers are then not those of the network.
        if found is not None and row.unit is Unit.HOUNSFIELD and found.method != DEFAULT_LUNG_METHOD:
            lines.append(f"{row.name}: lungs by {found.method} in place of {DEFAULT_LUNG_METHOD}")
        if row.lesions is not None and row.lesions.error is not None:
            lines.append(f"{row.name}, lesions: {row.lesions.error}")
        lines += [f"{row.name}, {failure}" for failure in row.failures]
        lines += [
            f"{row.name}, {item.system} ({item.configuration}): {item.error}"
            for item in row.classifications
            if item.error is not None
        ]
    return list(dict.fromkeys(lines))


def warnings_of(measurement: Measurement) -> list[str]:
    """One line for each warning of the run, the studies, their lungs and their lesions."""
    lines = list(measurement.warnings)
    for row in measurement.studies:
        lines += [f"{row.name}: {warning}" for warning in row.warnings]
        lines += [f"{row.name}, lungs by {item.method}: {warning}" for item in row.lungs for warning in item.warnings]
        if row.lesions is not None:
            lines += [f"{row.name}, lesions: {warning}" for warning in row.lesions.warnings]
    return list(dict.fromkeys(lines))
