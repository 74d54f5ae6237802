"""Fixtures: the made-up sets, and a measurement of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_sets import make_sets, stand_in_lesions, stand_in_lungs

from covid_bert.evaluation import default_model, study_measurement
from covid_bert.evaluation.results import Measurement


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sets(tmp_path_factory.mktemp("sets"), tmp_path_factory.mktemp("scratch"))


@pytest.fixture(scope="session")
def damaged(sets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sets with one study that cannot be read."""
    folder = shutil.copytree(sets, tmp_path_factory.mktemp("damaged") / "sets")
    (folder / "covid_ct_md" / "cap001_ct.nii.gz").write_bytes(b"no image")
    return folder


@pytest.fixture
def stand_ins() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        _stand_in(patch)
        yield


@pytest.fixture(scope="session")
def measured(
    damaged: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Measurement, list[tuple[str, int, int]]]:
    """Output folder, measurement of the damaged sets, and what was told meanwhile."""
    output, told = tmp_path_factory.mktemp("measurement"), []
    with pytest.MonkeyPatch.context() as patch:
        _stand_in(patch)
        measurement = default_model.measure(
            damaged, output, samples=damaged, on_study=lambda *facts: told.append(facts)
        )
    return output, measurement, told


def _stand_in(patch: pytest.MonkeyPatch) -> None:
    """Segmentation without networks, and no classification systems."""
    patch.setattr(study_measurement, "segment_lungs", stand_in_lungs)
    patch.setattr(study_measurement, "require_lesions", stand_in_lesions)
    patch.setattr(default_model, "installed_systems", lambda: ([], []))
