"""Labelled studies as the classifiers see them, kept in a folder: each is prepared once.

Studies that are held out are seen as in use, with the lungs that the live network finds, so that what is judged and
calibrated is what users get. Only what is learned from is seen with lungs that people have corrected.

Preparing is what `ClassificationSystem.classify` does before its networks run. The channels of the three systems in
the small configuration are the same, so that one cache serves them all; it is read memory-mapped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from covid_bert import clips, lesions, lungs, segmentation, systems, volumes
from covid_bert.clips.stack import ClipStack
from covid_bert.errors import OutputError
from covid_bert.files import remove_abandoned, replacing, write_atomically
from covid_bert.lesions.network import WEIGHTS_NAME as LESION_WEIGHTS
from covid_bert.lesions.network import check_possible
from covid_bert.lungs import WEIGHTS_BY_METHOD
from covid_bert.lungs.mask import LungMask
from covid_bert.progress import Progress
from covid_bert.retraining.cases import LabelledStudy, Part
from covid_bert.retraining.derived import channels_folder, marked
from covid_bert.systems.configuration import S2_CONFIGURATIONS
from covid_bert.systems.segmented import SegmentedStudy
from covid_bert.systems.slices import prepare_slices
from covid_bert.training.code_digest import digest_of_code
from covid_bert.volumes import read, read_mask
from covid_bert.volumes.volume import Volume
from covid_bert.weights.files import sha256_of
from covid_bert.weights.serving import serviceable

CONFIGURATION = S2_CONFIGURATIONS["small"]
LUNGS_METHOD = "auto"
_READ_BY = (volumes, segmentation, lungs, lesions, clips, systems)


@dataclass(frozen=True, eq=False)
class SeenChannels:
    """A study as the classifiers see it; see `covid_bert.training.seen.SeenStudy`.

    Parameters
    ----------
    source
        Key of the person.
    label
        Index into `CLASS_NAMES`.
    channels
        uint8 (kept slices, 3, side, side).
    lesion_share
        float32 (kept slices): share of the lungs that the lesion network calls lesion.
    digest
        SHA-256 of the channels' file.
    """

    source: str
    label: int
    channels: npt.NDArray[np.uint8]
    lesion_share: npt.NDArray[np.float32]
    digest: str

    @property
    def stack(self) -> ClipStack:
        """The slices, ready to be cut into clips."""
        return ClipStack(torch.from_numpy(self.channels), np.arange(len(self.channels)))


def prepare_channels(
    volume: Volume, mask: LungMask | None, *, device: str = "auto", progress: Progress | None = None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Segment, choose slices and compose channels by the code that the systems use for inference.

    Parameters
    ----------
    volume
        In HU, with known voxel size.
    mask
        Corrected lungs; the live lung network's where there are none.
    device
        For the networks.
    progress
        May cancel.

    Returns
    -------
    channels
        uint8 (kept slices, 3, side, side).
    lesion_share
        float32 (kept slices).

    Raises
    ------
    InputError
        If the study cannot be classified.
    WeightsError
        If the lesion network's weights are missing or damaged.
    """
    progress = progress or Progress()
    check_possible(volume)
    study = SegmentedStudy.of(volume, mask, None, lungs_method=LUNGS_METHOD, device=device, progress=progress)
    stack = prepare_slices(study, CONFIGURATION, progress)
    assert study.lesion_measurements is not None
    share = np.nan_to_num(study.lesion_measurements.share_by_slice[stack.indices])
    return stack.channels.numpy(), share.astype(np.float32)


class ChannelCache:
    """Prepared studies, each kept in the folder of those with which it lies (`channels_folder`).

    Parameters
    ----------
    device
        For the networks that prepare.
    """

    def __init__(self, *, device: str = "auto") -> None:
        self.device = device

    def labelled(self, study: LabelledStudy, label: int, progress: Progress | None = None) -> SeenChannels:
        """One labelled study, from the folder or prepared now.

        Raises
        ------
        InputError, NotFoundError
            If image or mask cannot be used.
        WeightsError
            See `prepare_channels`.
        OutputError
            If the folder cannot be written to.
        """
        drawn = study.mask if study.part is Part.TRAINING else None
        key = self._key(study.image_sha256, study.mask_sha256 if drawn is not None else "")
        array = channels_folder(study.image) / marked(study.image, f"{key}.npy")
        kept = self._load(array, study.patient, label)
        if kept is None:
            volume = read(study.image)
            mask = LungMask(read_mask(drawn, volume), "given") if drawn is not None else None
            return self._made(array, study.patient, label, volume, mask, progress)
        return kept

    def _made(
        self, array: Path, source: str, label: int, volume: Volume, mask: LungMask | None, progress: Progress | None
    ) -> SeenChannels:
        channels, share = prepare_channels(volume, mask, device=self.device, progress=progress)
        with _explained():
            # They hold images of patients.
            for folder in (array.parent.parent, array.parent):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            remove_abandoned(array.parent, seconds=3600.0)
            with replacing(array) as temporary, temporary.open("wb") as file:
                np.save(file, channels, allow_pickle=False)
            # Written last: without it the array counts as not there.
            write_atomically(
                array.with_suffix(".json"), json.dumps({"sha256": sha256_of(array), "lesion_share": share.tolist()})
            )
        made = self._load(array, source, label)
        if made is None:
            raise OutputError("A prepared study cannot be read back.", "Check the disk that COVID_BERT_HOME lies on.")
        return made

    def _load(self, array: Path, source: str, label: int) -> SeenChannels | None:
        """A kept study; None if it is not there or damaged."""
        facts = array.with_suffix(".json")
        try:
            found = json.loads(facts.read_text(encoding="utf-8"))
            if sha256_of(array) != found["sha256"]:
                return None
            # Copy on write: torch takes writable arrays only, and nothing is ever written.
            channels = np.load(array, mmap_mode="c", allow_pickle=False)
            share = np.asarray(found["lesion_share"], np.float32)
            # Asked for: see `covid_bert.datastore.forgetting`.
            os.utime(array)
            os.utime(facts)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return SeenChannels(source, label, channels, share, found["sha256"])

    def _key(self, image: str, mask: str) -> str:
        made_by = "" if mask else _identity(WEIGHTS_BY_METHOD[LUNGS_METHOD])
        facts = (image, mask, made_by, _identity(LESION_WEIGHTS), code_digest())
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()


@cache
def code_digest() -> str:
    """SHA-256 of the code that prepares a study: what another version of it made is made again."""
    return digest_of_code(*_READ_BY)


def _identity(name: str) -> str:
    weights = serviceable(name).weights
    return weights.sha256 if weights is not None else ""


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"A prepared study cannot be kept: {error.strerror or type(error).__name__}.",
            "Free some space, or set COVID_BERT_HOME to a folder on a larger disk.",
        ) from error
