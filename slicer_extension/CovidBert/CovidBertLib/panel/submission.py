"""A corrected mask, or a study label, on its way to the server."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import slicer

from .. import correction
from ..export import VolumeCopy
from ..fingerprint import of_image
from ..i18n import tr as _
from ..masks import MaskCopy
from ..problems import CovidBertError
from ..process import Failure, Progress, Task
from .preparing import Preparation, server_changed

if TYPE_CHECKING:
    from .context import Panel


class Submission:
    """At most one mask or label on its way, and what became of the last one.

    Parameters
    ----------
    panel
        What the sections share.
    changed
        Called with None when it begins or ends, and with the `Progress` in between.
    """

    def __init__(self, panel: Panel, changed: Callable[[Progress | None], None]) -> None:
        self._panel, self._changed = panel, changed
        self._task: Preparation | Task | None = None
        self._outcome = ""
        self._sent: Any = None

    @property
    def is_running(self) -> bool:
        """Whether something is being submitted."""
        return self._task is not None

    def outcome(self, volume: slicer.vtkMRMLScalarVolumeNode | None) -> str:
        """Return what became of the last submission, if it was of this volume."""
        return self._outcome if self._sent is volume else ""

    def forget_outcome(self) -> None:
        """Say nothing of the last submission any more."""
        self._outcome = ""

    def cancel(self) -> None:
        """Submit no longer; what has arrived is not taken back."""
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """The panel goes: copies are written no further."""
        if isinstance(self._task, Preparation):
            self._task.abandon()

    def send_mask(self, corrected: Any, volume: Any, image: str | None, label: dict[str, Any] | None) -> None:
        """Submit a segmentation as it is now; it can be edited meanwhile.

        Parameters
        ----------
        corrected, volume
            The segmentation and its volume.
        image
            Under which id the server knows the volume, None where the volume is to be sent as well.
        label
            What is said about the study, or None.

        Raises
        ------
        CovidBertError
            If it is no mask, by what is known without looking at voxels, or the volume is no CT.
        """
        url, content = self._panel.server["url"], of_image(volume)
        folder = self._panel.new_folder()
        try:
            mask = MaskCopy(corrected, volume, folder)
            study = VolumeCopy(volume, folder) if image is None else None
        except CovidBertError:
            shutil.rmtree(folder, ignore_errors=True)
            raise

        def send(made: dict[str, Any]) -> None:
            try:
                if made["problem"] is not None:
                    raise mask.problem(made["problem"])
                if not self._panel.is_connected_to(url):
                    raise server_changed()
                order = {
                    "kind": "submit",
                    "folder": str(folder),
                    "image": image,
                    "volume": None if study is None else study.order,
                    "mask": made["file"],
                    "tag": "final",
                    "study_label": label,
                }
                self._start(order, self._mask_saved, volume, content if study is None else study.content)
            except CovidBertError as problem:
                shutil.rmtree(folder, ignore_errors=True)
                fail(Failure(problem.code, problem.message, problem.hint))

        def fail(failure: Failure) -> None:
            self._panel.messages.failure(failure)
            self._outcome = _not_submitted()
            self._ended()

        def stop() -> None:
            self._outcome = _cancelled()
            self._ended()

        copies = [mask] if study is None else [mask, study]
        preparation = Preparation(
            self._panel,
            folder,
            copies,
            lambda: {"kind": "mask", "mask": mask.order},
            done=send,
            failed=fail,
            cancelled=stop,
            progress=self._changed,
        )
        self._begin(preparation, volume)
        preparation.start()

    def send_label(self, volume: Any, image: str, label: dict[str, Any]) -> None:
        """Save what is said about a study that the server knows as `image`."""
        order = {"kind": "study_label_put", "image": image, "study_label": label}
        self._start(order, self._label_saved, volume, of_image(volume))

    def _begin(self, task: Preparation | Task, volume: Any) -> None:
        self._task, self._sent, self._outcome = task, volume, ""
        self._panel.messages.clear()
        self._changed(None)

    def _start(self, order: dict[str, Any], done: Callable[[dict[str, Any]], None], volume: Any, content: str) -> None:
        """Start an order about a volume whose fingerprint was `content` when it was copied."""
        url = self._panel.server["url"]

        def failed(failure: Failure) -> None:
            self._keep(failure.kept, volume, url, content)
            if order["kind"] == "submit":
                self._outcome = _not_submitted()
                if "version" in failure.kept:
                    self._outcome = _("The mask was saved on the server, the study label was not.")

        def finished(result: dict[str, Any]) -> None:
            self._keep(result, volume, url, content)
            done(result)

        def cancelled() -> None:
            self._outcome = _cancelled()
            self._keep({} if task is None else task.kept, volume, url, content)

        task = self._panel.start(
            order, done=finished, failed=failed, cancelled=cancelled, progress=self._changed, ended=self._ended
        )
        self._begin(task, volume)

    def _keep(self, facts: dict[str, Any], volume: Any, url: str, content: str) -> None:
        """Note under which id the server knows the volume now: it is not added a second time."""
        image = facts.get("image")
        if isinstance(image, str) and image and volume.GetScene() is not None:
            correction.remember_image(volume, url, image, content)

    def _mask_saved(self, result: dict[str, Any]) -> None:
        version, author = result.get("version"), result.get("author") or self._panel.offer.get("user", "")
        if version is None:
            self._outcome = _("Submitted; the server saved it and then did not say as which version.")
        else:
            self._outcome = _("Submitted as version {version} by {author}.").format(version=version, author=author)
        self._tell()

    def _label_saved(self, result: dict[str, Any]) -> None:
        self._outcome = _("Study label saved as version {version} by {author}.").format(
            version=result.get("version"), author=result.get("author") or self._panel.offer.get("user", "")
        )
        self._tell()

    def _tell(self) -> None:
        self._panel.messages.good(self._outcome)
        worklist: Any = self._panel.section("Worklist")
        worklist.update()

    def _ended(self) -> None:
        self._task = None
        self._changed(None)


def _not_submitted() -> str:
    return _("Not submitted. Your correction is unchanged in the scene.")


def _cancelled() -> str:
    return _("Cancelled. Your correction is unchanged in the scene.")
