"""Where that lies which is derived from studies, outside of their folder: it goes with them.

All that is made from one study has the study's mark in front of its name, so that it can be found when the study is
gone. `covid_bert.datastore.forgetting` removes it. What runs of trainings hold lies in their own folders: see
`covid_bert.retraining.run_folder`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

from covid_bert.weights.location import folder_of_studies, home

# What nobody asked for in this time is removed: derived images of patients do not stay for ever.
KEPT_SECONDS = 90 * 24 * 3600.0
# In the working folder of a run: the labels as they were when it began.
LABELS_FILE = "labels.json"
_CACHE, _CHANNELS = "cache", "channels"


def retraining_folder(studies: Path) -> Path:
    """Return the folder for all that retraining keeps of one folder of studies.

    Parameters
    ----------
    studies
        Folder with the studies.
    """
    return folder_of_studies("retraining", studies)


def retraining_folders() -> list[Path]:
    """Those of all folders of studies that were ever trained on here."""
    return sorted(path for path in (home() / "retraining").glob("*") if path.is_dir() and len(path.name) == 32)


def label_cache(studies: Path) -> Path:
    """Return the folder for what was found in the images and masks of a folder of studies."""
    return retraining_folder(studies) / _CACHE


def channels_folder(image: Path) -> Path:
    """Return the folder for the channels of a study: that of the folder in which it lies."""
    return retraining_folder(image.parent) / _CHANNELS


def marked(image: Path, name: str) -> str:
    """Return the name of a file that is derived from a study.

    Parameters
    ----------
    image
        File or folder of the study.
    name
        What else tells it from others.
    """
    return f"{mark_of(image.name)}-{name}"


def mark_of(name: str) -> str:
    """The mark of a study, by the name of its file or folder, which it does not tell."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def derived_files(own: Path) -> list[tuple[str, Path]]:
    """All derived files of a folder of studies with the mark of each; what is being written is not among them.

    Parameters
    ----------
    own
        What `retraining_folder` returns.
    """
    found = [path for pattern in (f"{_CACHE}/*/*", f"{_CHANNELS}/*") for path in own.glob(pattern)]
    return [(path.name.partition("-")[0], path) for path in found if not path.name.startswith(".")]


def marks_in(work: Path) -> set[str]:
    """Marks of the studies that a run learns from and is judged on, by its working folder."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        studies = json.loads((work / LABELS_FILE).read_bytes())["studies"]
        return {mark_of(Path(study["image"]).name) for study in studies}
    return set()
