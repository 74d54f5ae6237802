"""Classifications on their way: at most one for each volume."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import slicer

from .. import scene
from ..export import VolumeCopy, is_unchanged
from ..i18n import tr as _
from ..problems import CovidBertError
from ..process import Failure
from ..result import parse
from .preparing import Preparation, server_changed

if TYPE_CHECKING:
    from ..process import Progress, Task
    from .context import Panel
    from .uploads import Upload

_WANTS = ("lungs", "lesions", "location")


class JobError(CovidBertError):
    """The volume cannot be classified just now."""

    default_code = "already-running"


@dataclass
class Job:
    """One classification.

    Parameters
    ----------
    volume
        The volume.
    volume_id
        Its id, also when it has left the scene.
    model
        Name of the model.
    task
        The copy or the order on its way.
    upload
        What the server kept of the volume before; the job's own as long as it runs.
    progress
        What was heard last, None at the start.
    is_cancelling
        Whether the user no longer wants it.
    is_dropped
        Whether its volume has gone, so that nothing of it is shown any more.
    """

    volume: Any
    volume_id: str
    model: str
    task: Preparation | Task | None = None
    upload: Upload | None = None
    progress: Progress | None = None
    is_cancelling: bool = False
    is_dropped: bool = False


class Jobs:
    """Starts classifications and turns what they give into nodes.

    Parameters
    ----------
    panel
        What the sections share.
    """

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._jobs: dict[str, Job] = {}

    def all(self) -> list[Job]:
        """Return the classifications on their way."""
        return list(self._jobs.values())

    def running(self, volume: slicer.vtkMRMLScalarVolumeNode | None) -> Job | None:
        """Return the classification of a volume, None where none is on its way."""
        return None if volume is None else self._jobs.get(volume.GetID() or "")

    def start(
        self,
        volume: slicer.vtkMRMLScalarVolumeNode,
        model: str,
        *,
        shown: Callable[[Any, scene.Shown], None],
        failed: Callable[[Failure], None] | None = None,
        progress: Callable[[Job], None] | None = None,
        cancelled: Callable[[], None] | None = None,
    ) -> Job:
        """Classify a volume. Whether it may be sent was asked before (`Panel.may_upload`).

        Parameters
        ----------
        volume
            The volume.
        model
            One of those that the server offers.
        shown
            Called with the volume and its new nodes.
        failed
            Called with the `Failure`, which was shown: of the server, or since its result cannot be shown.
        progress
            Called with the job.
        cancelled
            Called if the user cancelled.

        Returns
        -------
        The job.

        Raises
        ------
        CovidBertError
            If the volume cannot be classified, by what is known without looking at voxels, or is being classified.
        """
        if self.running(volume) is not None:
            raise JobError(
                _("{name} is already being classified.").format(name=volume.GetName()),
                _("Wait for its result, or press Cancel first."),
            )
        folder = self._panel.new_folder()
        try:
            copy = VolumeCopy(volume, folder)
        except CovidBertError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        job = Job(volume, volume.GetID(), model)
        server = self._panel.server
        upload = job.upload = self._panel.uploads.take(job.volume_id)
        before = {} if upload is None else {"session_id": upload.session_id, "sha256": upload.sha256}

        def note(heard: Progress) -> None:
            job.progress = heard
            if progress is not None and not job.is_dropped:
                progress(job)

        def finish(answer: dict[str, Any]) -> None:
            self._end(job, answer, server)
            if job.is_dropped:
                return
            try:
                if not is_unchanged(volume, copy.order):
                    raise JobError(
                        _("{name} was changed while it was being classified: its result is not shown.").format(
                            name=volume.GetName()
                        ),
                        _("Classify it again, as it is now."),
                        "volume-changed",
                    )
                self._show(job, answer, shown)
            except CovidBertError as problem:
                tell(Failure(problem.code, problem.message, problem.hint))

        def fail(failure: Failure) -> None:
            self._end(job, failure.kept, server)
            if not job.is_dropped:
                tell(failure)

        def tell(failure: Failure) -> None:
            self._panel.messages.failure(failure)
            if failed is not None:
                failed(failure)

        def stop() -> None:
            self._end(job, job.task.kept if job.task is not None else {}, server)
            if cancelled is not None and not job.is_dropped:
                cancelled()

        def send(_nothing: dict[str, Any]) -> None:
            nonlocal server
            order = {
                "kind": "classify",
                "folder": str(folder),
                "volume": copy.order,
                "model": model,
                "params": {},
                "wants": list(_WANTS),
                "session_id": before.get("session_id"),
                "sha256": before.get("sha256"),
            }
            try:
                if server is None or not self._panel.is_connected_to(server["url"]):
                    raise server_changed()
                # With the token of now: only with that the upload can be closed.
                server = self._panel.server
                job.task = self._panel.start(order, done=finish, failed=fail, cancelled=stop, progress=note, quiet=True)
            except CovidBertError as problem:
                shutil.rmtree(folder, ignore_errors=True)
                fail(Failure(problem.code, problem.message, problem.hint, kept=before))

        self._jobs[job.volume_id] = job
        preparation = Preparation(
            self._panel, folder, [copy], None, done=send, failed=fail, cancelled=stop, progress=note, kept=before
        )
        job.task = preparation
        preparation.start()
        self._panel.refresh()
        return job

    def cancel(self, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Cancel the classification of a volume, if there is one."""
        job = self.running(volume)
        if job is not None and job.task is not None:
            job.is_cancelling = True
            job.task.cancel()
            self._panel.refresh()

    def drop(self, volume_id: str | None = None) -> int:
        """Cancel the classification of a volume that has gone, or all, and show nothing of it any more.

        Returns
        -------
        How many there were.
        """
        jobs = [job for job in self.all() if volume_id in (None, job.volume_id)]
        for job in jobs:
            job.is_dropped = True
            del self._jobs[job.volume_id]
            if job.task is not None:
                job.task.cancel()
        return len(jobs)

    def _end(self, job: Job, kept: dict[str, Any], server: dict[str, Any] | None) -> None:
        # What another server keeps is nothing to the one in use.
        is_there = server is not None and self._panel.is_connected_to(server["url"])
        is_wanted = is_there and not job.is_dropped
        self._panel.uploads.end(job.volume_id, job.upload, kept, server, is_wanted)
        if not job.is_dropped:
            del self._jobs[job.volume_id]
            self._panel.refresh()

    def _show(self, job: Job, answer: dict[str, Any], then: Callable[[Any, scene.Shown], None]) -> None:
        if answer["result"] is None:
            raise JobError(
                _("The model {name} gives no classification.").format(name=job.model),
                _("Choose another model."),
                "no-result",
            )
        shown = scene.show(job.volume, parse(answer["result"]), answer["files"])
        if self._panel.volume is job.volume:
            self._panel.set_shown(shown)
        then(job.volume, shown)
