"""A folder of studies as a server has it: phantoms of made-up patients, corrected, and drawn into wanted parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from labelled_site import SHAPE, SPACING

from covid_bert.datastore.opinions import open_split
from covid_bert.phantom import make
from covid_bert.phantom.writer import write
from covid_bert.retraining.cases import Part

PARTS = {Part.TRAINING: 2, Part.VALIDATION: 3}
READERS = ("anna", "bert")


def patients(studies: Path, part: Part) -> Iterator[str]:
    """Names of patients whom the folder's split will draw into a part."""
    split = open_split(studies)
    for number in range(10_000):
        name = f"person-{number}"
        # As it draws them: by the first digits of the key.
        digits = split.key("patient", name).partition(":")[2][:13]
        if split.shares.part(int(digits, 16) / 16**13) is part:
            yield name


def write_case(folder: Path, number: int, study_class: str = "covid") -> tuple[Path, Path]:
    """Write a phantom, which has lesions if it has COVID-19, and its exact lungs."""
    lesions = "covid-like" if study_class == "covid" else "none"
    person = make(shape=SHAPE, spacing=SPACING, seed=number, lesions=lesions, severity=0.8)
    folder.mkdir(exist_ok=True)
    return write(person, folder / f"image-{number}.nii.gz"), write(person, folder / f"mask-{number}.nii.gz", "lungs")


def corrected_site(studies: Path, parts: Mapping[Part, int], *, classes: bool = False) -> None:
    """Fill a new folder with corrected studies of as many patients of each part as is wanted, one study each.

    With classes, every second one has COVID-19, and readers have said so.
    """
    from covid_bert.datastore.store import StudyDatastore
    from covid_bert.datastore.study_labels import StudyLabel

    studies.mkdir()
    store, made = StudyDatastore(str(studies)), studies.with_name("made")
    wanted = [(part, number) for part, count in parts.items() for number in range(count)]
    for number, (part, place) in enumerate(wanted):
        study_class = "covid" if place % 2 == 0 else "normal"
        image, mask = write_case(made, number, study_class)
        *_, patient = (name for name, _ in zip(patients(studies, part), range(place + 1), strict=False))
        name = store.add_image(f"case-{number}", str(image), {"patient": patient})
        store.save_label(name, str(mask), "final", {"user": READERS[number % 2]})
        if classes:
            store.save_study_label(name, StudyLabel(study_class=study_class, certainty="certain"), READERS[number % 2])
    store.close()
