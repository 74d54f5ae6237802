"""MONAI Label's OHIF page in a real browser shows our Segmentation from a real archive, right on the right side."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_maker import make_series
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from result_maker import classify
from volume_maker import phantom

from covid_bert.report.dicom import dicom_results, read_source
from covid_bert.volumes import read
from needed import require_module, require_program
from ohif_page import running_ohif
from orthanc_server import running_orthanc

pytestmark = [pytest.mark.server, pytest.mark.slow]
_MOST_MILLISECONDS = 300_000
# Without a graphics card the page draws by a processor; nothing is asked of other machines.
_OPTIONS = [
    *("--no-sandbox", "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"),
]
# Of docs/dicom.md: the lungs' colours, as the object states them.
_BLUE, _ORANGE = (86, 180, 233), (230, 159, 0)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The viewer, with a study that has its results."""
    playwright = require_module("playwright.sync_api", "pip install playwright")
    chromium = require_program("chromium", "chromium")
    folder = tmp_path_factory.mktemp("ohif")
    # Lungs in every slice: the viewer begins with the first.
    files = make_series(folder / "study", phantom((24, 96, 96))[4:20])
    volume = read(folder / "study")
    objects = dicom_results(read_source(volume), volume, classify(volume))
    (folder / "orthanc").mkdir()
    with running_orthanc(folder / "orthanc") as archive:
        root = f"{archive}/dicom-web"
        client = DICOMwebClient(root)
        client.store_instances([pydicom.dcmread(file) for file in files])
        client.store_instances(list(objects.values()))
        with running_ohif(root) as address, playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=_OPTIONS, timeout=_MOST_MILLISECONDS)
            opened = browser.new_page(viewport={"width": 1200, "height": 800})
            opened.set_default_timeout(_MOST_MILLISECONDS)
            study = volume.source.study_instance_uid
            opened.goto(f"{address}/viewer?StudyInstanceUIDs={study}", wait_until="domcontentloaded")
            opened.get_by_text("Confirm and Hide").click()
            yield opened
            browser.close()


def _colour(picture: np.ndarray, wanted: tuple[int, int, int]) -> np.ndarray:
    """Columns of the pixels that have a colour."""
    return np.nonzero((np.abs(picture.astype(int) - wanted).max(-1) < 24).any(0))[0]


def test_the_viewer_lists_all_results_of_the_study_and_shows_the_lungs(page) -> None:
    thumbnails = page.locator("[data-cy^=study-browser-thumbnail]")
    for modality, words in (
        ("CT", ""),
        ("SEG", "Right lung and left lung"),
        ("SEG", "consolidation"),
        ("SR", "Measurements by"),
        ("DOC", "Report by"),
        ("OT", "Picture by"),
    ):
        thumbnails.filter(has_text=modality).filter(has_text=words).first.wait_for()
    thumbnails.filter(has_text="Right lung and left lung").first.dblclick()
    question = page.get_by_text("Do you want to open this Segmentation?")
    question.wait_for()
    page.get_by_text("Yes", exact=True).first.click()
    question.wait_for(state="hidden")

    # The same slice is drawn again and again until the mask lies over it: wait for what is to be seen.
    def drawn() -> bool:
        picture = np.asarray(Image.open(io.BytesIO(page.locator("[data-cy=viewport-pane]").first.screenshot())))[
            ..., :3
        ]
        right, left = _colour(picture, _BLUE), _colour(picture, _ORANGE)
        if min(len(right), len(left)) < 20:
            return False
        assert right.mean() < left.mean(), "the patient's right is on the left of the picture"
        return True

    for _ in range(_MOST_MILLISECONDS // 500):
        if drawn():
            break
        page.wait_for_timeout(500)
    else:
        pytest.fail("the page did not draw the lungs in their colours")
