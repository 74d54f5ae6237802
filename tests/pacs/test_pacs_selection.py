"""Which series are chest CTs: by what an archive lists, and by one header; and why the others are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from archive_maker import make_chest, make_each_kind
from dicom_maker import make_series
from multi_frame_maker import make_enhanced
from volume_maker import phantom

from covid_bert.pacs.listed import ListedSeries, headers_in
from covid_bert.pacs.selection import Refusal, judge, judge_listed

REFUSED = {
    "localizer": Refusal.LOCALIZER,
    "dose report": Refusal.DOSE_REPORT,
    "dose document": Refusal.DOSE_REPORT,
    "head": Refusal.BODY_PART,
    "head by name": Refusal.BODY_PART,
    "coronal": Refusal.REFORMAT,
    "mip": Refusal.REFORMAT,
    "short": Refusal.TOO_FEW,
    "magnetic": Refusal.NOT_CT,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    return make_each_kind(tmp_path_factory.mktemp("made"))


def _listed(files: list[Path]) -> ListedSeries:
    header = pydicom.dcmread(files[0], stop_before_pixels=True)
    texts = [str(header.get(name, "")) for name in ("BodyPartExamined", "SeriesDescription")]
    return ListedSeries("1.2", "1.3", len(files), header.Modality, *texts)


def _headers(file: Path):
    return headers_in(pydicom.dcmread(file, stop_before_pixels=True).to_json_dict())


def _refusal(files: list[Path]) -> Refusal | None:
    listed = _listed(files)
    return judge_listed(listed) or judge(listed, _headers(files[len(files) // 2])).refusal


@pytest.mark.parametrize("kind", ["chest", "unnamed"])
def test_chest_cts_are_offered(made, kind: str) -> None:
    assert _refusal(made[kind]) is None
    verdict = judge(_listed(made[kind]), _headers(made[kind][6]))
    assert verdict.images == 12
    assert verdict.bytes == 12 * 20 * 26 * 2


@pytest.mark.parametrize(("kind", "reason"), REFUSED.items())
def test_others_are_refused_with_a_reason(made, kind: str, reason: Refusal) -> None:
    assert _refusal(made[kind]) is reason


def test_every_kind_is_judged(made) -> None:
    assert {*REFUSED, "chest", "unnamed"} == set(made)


@pytest.mark.parametrize(
    ("part", "description", "protocol", "study", "offered"),
    [
        ("HEAD", "Thorax 1.0", "", "", True),  # the part of the protocol before, left as it was
        ("CHESTABDPELVIS", "", "", "", True),
        ("", "CTA chest/abdomen", "", "", True),
        ("", "", "HRCT", "", True),
        ("", "", "", "CT head and chest", True),
        ("HEAD", "", "", "CT head and chest", False),
        ("", "Abdomen 5mm", "", "CT chest, abdomen", False),
        ("ABDOMEN", "", "", "", False),
        ("", "axial 1mm", "LIVER 3 phase", "", False),
        ("HEART", "CaScore", "", "", False),
        ("", "1.25mm lung window", "", "CT abdomen", True),
        ("", "5.0 B31s", "", "", True),
    ],
)
def test_the_body_part_is_what_is_said_nearest_to_the_series(part, description, protocol, study, offered) -> None:
    listed = ListedSeries("1.2", "1.3", 100, "CT", part, description, protocol, study)
    assert judge_listed(listed) is (None if offered else Refusal.BODY_PART)


@pytest.mark.parametrize(
    ("orientation", "reason"),
    [
        ((1, 0, 0, 0, 0.8829, -0.4695), None),  # a gantry tilted by 28 degrees
        ((1, 0, 0, 0, 0, -1), Refusal.REFORMAT),
        ((0, 1, 0, 0, 0, -1), Refusal.REFORMAT),
        ((1, 0, 0, 0, 0.7071, -0.7071), Refusal.REFORMAT),
    ],
)
def test_planes_across_the_body_are_axial(tmp_path: Path, orientation, reason) -> None:
    files = make_series(tmp_path, phantom(), orientation=orientation)
    assert _refusal(files) is reason


def test_an_enhanced_image_counts_its_frames(tmp_path: Path) -> None:
    file = tmp_path / "enhanced.dcm"
    make_enhanced(file, phantom())
    verdict = judge(_listed([file]), _headers(file))
    assert verdict.refusal is None
    assert verdict.images == 12


def test_an_image_without_header_or_size_is_none(tmp_path: Path) -> None:
    files = make_chest(tmp_path / "chest")
    assert judge(_listed(files), []).refusal is Refusal.NO_IMAGE
    (header,) = _headers(files[0])
    assert judge(_listed(files), [replace(header, rows=0)]).refusal is Refusal.NO_IMAGE
