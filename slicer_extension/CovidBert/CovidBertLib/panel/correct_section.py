"""The section in which a mask is corrected, compared with the automatic one, and submitted with a study label."""

from __future__ import annotations

import shutil
from typing import Any

import slicer

from .. import correction
from ..comparison import compare
from ..export import export_volume
from ..i18n import tr as _
from ..masks import write_mask
from ..problems import CovidBertError
from ..process import Failure, Progress, Task
from ..segments import LESIONS, LUNGS
from .comparison_table import ComparisonTable
from .doubts import ask_own_study, other_image_words, tell_edited
from .section import Section
from .stages import progress_text
from .study_label import StudyLabelForm

_MASK_FILE = "label.corrected.nrrd"


class Correct(Section):
    """Correct and submit."""

    form = "Correct"
    button = "correctSection"

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self.label_form: Any = None
        self._comparison: Any = None
        self._editor_node: Any = None
        self._task: Task | None = None
        self._outcome = ""
        self._sent: Any = None

    def setup(self) -> None:
        """Prepare editor, table and choices."""
        for text, mask in ((_("Lungs"), LUNGS), (_("Lesions"), LESIONS)):
            self.ui.maskSelector.addItem(text, mask)
        self.label_form = StudyLabelForm(self.ui)
        self._comparison = ComparisonTable(self.ui.comparisonTable, self.ui.comparisonLabel)
        self.ui.editor.setMaximumNumberOfUndoStates(10)
        self.ui.editor.setSegmentationNodeSelectorVisible(False)
        self.ui.editor.setSourceVolumeNodeSelectorVisible(False)
        self.ui.maskSelector.connect("currentIndexChanged(int)", self._mask_chosen)
        self.ui.startButton.connect("clicked()", self.panel.guarded(self._start))
        self.ui.compareButton.connect("clicked()", self.panel.guarded(self._compare))
        self.ui.submitButton.connect("clicked()", self.panel.guarded(self._submit))
        self.ui.labelButton.connect("clicked()", self.panel.guarded(self._submit_label))
        self.ui.cancelButton.connect("clicked()", self._cancel)
        self.ui.classSelector.connect("currentIndexChanged(int)", lambda _index: self.refresh())

    # ------------------------------------------------------------------ state

    @property
    def mask(self) -> str:
        """Which mask is corrected: ``lungs`` or ``lesions``."""
        return str(self.ui.maskSelector.currentData)

    @property
    def automatic(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The automatic mask of the result on show."""
        shown = self.panel.shown
        return None if shown is None else (shown.lungs if self.mask == LUNGS else shown.lesions)

    @property
    def corrected(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The mask being corrected, None before the start."""
        return correction.correction_of(self.automatic)

    @property
    def image(self) -> str | None:
        """Under which id the server in use knows the volume, None where that is not known."""
        server = self.panel.server
        return None if server is None else correction.image_of(self.panel.volume, server["url"])

    @property
    def is_busy(self) -> bool:
        """Whether something is being submitted."""
        return self._task is not None

    def refresh(self) -> None:
        """Show what can be done with the result on show."""
        self.label_form.follow(self.panel.volume)
        self._edit(corrected := self.corrected)
        is_idle, is_connected = not self.is_busy, self.panel.server is not None
        may_write = "annotator" in self.panel.offer.get("roles", ())
        self.ui.startButton.setVisible(corrected is None)
        self.ui.startButton.enabled = self.automatic is not None
        self.ui.maskSelector.enabled = is_idle
        self.ui.editor.setVisible(corrected is not None)
        self.ui.editor.enabled = is_idle
        self.ui.compareButton.setVisible(corrected is not None)
        self.ui.labelBox.enabled = is_idle
        ready = is_idle and is_connected and may_write
        self.ui.submitButton.enabled = ready and corrected is not None and self.mask == LUNGS
        self.ui.labelButton.enabled = ready and self.image is not None and self.label_form.label() is not None
        self.ui.cancelButton.setVisible(not is_idle)
        self.ui.progressBar.setVisible(not is_idle)
        self.ui.progressLabel.setVisible(bool(self.ui.progressLabel.text))
        self.ui.stateLabel.text = self._state()
        self.ui.stateLabel.setVisible(bool(self.ui.stateLabel.text))
        self.ui.authorLabel.text = self._author(may_write)

    def _state(self) -> str:
        if self.panel.volume is None:
            return _("Choose a volume in the section Study.")
        if self.panel.shown is None:
            return _("Classify the study first: its masks are what is corrected.")
        if self.automatic is None:
            return _("The result has no such mask.")
        if self.mask == LESIONS:
            return _("Lesions can be corrected and compared here; the server takes corrected lungs only.")
        return (self._outcome if self._sent is self.panel.volume else "") or other_image_words(self.panel)

    def _author(self, may_write: bool) -> str:
        if self.panel.server is None:
            return _("To submit, connect to a server.")
        user = self.panel.offer.get("user") or _("unknown")
        if not may_write:
            return _("The token of {user} may read only. To submit, use one with the role annotator.").format(user=user)
        return _("Will be saved under the name {user}, as a new version; earlier ones are kept.").format(user=user)

    def _start(self) -> None:
        if self.automatic is None or self.panel.volume is None:
            return
        correction.start_correction(self.automatic, self.panel.volume)
        self._outcome = ""
        self.refresh()

    def _edit(self, segmentation: slicer.vtkMRMLSegmentationNode | None) -> None:
        """Let the editor work on a segmentation, None for none."""
        if segmentation is None:
            if self._editor_node is not None:
                self.ui.editor.setSegmentationNode(None)
                self.ui.editor.setSourceVolumeNode(None)
            self._comparison.forget()
            return
        if self._editor_node is None or self._editor_node.GetScene() is None:
            # An editor node of its own: what is chosen in the module Segment Editor stays as it is.
            self._editor_node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            self._editor_node.UnRegister(None)
            self._editor_node.SetSingletonTag("CovidBert")
            self._editor_node = slicer.mrmlScene.AddNode(self._editor_node)
            self._editor_node.SetOverwriteMode(self._editor_node.OverwriteAllSegments)
            self.ui.editor.setMRMLScene(slicer.mrmlScene)
            self.ui.editor.setMRMLSegmentEditorNode(self._editor_node)
        if self.ui.editor.segmentationNode() is not segmentation:
            self.ui.editor.setSegmentationNode(segmentation)
            self.ui.editor.setSourceVolumeNode(self.panel.volume)
            self._comparison.forget()

    def _mask_chosen(self, _index: int) -> None:
        self._comparison.forget()
        self.refresh()

    def _compare(self) -> None:
        tell_edited(self.panel, self.automatic, self.mask)
        self._comparison.show(compare(self.automatic, self.corrected, self.panel.volume, self.mask))

    # ----------------------------------------------------------------- submit

    def _submit(self) -> None:
        volume, corrected = self.panel.volume, self.corrected
        ask_own_study(self.panel, lambda: self.panel.may_upload(lambda: self._send_mask(volume, corrected)))

    def _send_mask(self, volume: Any, corrected: Any) -> None:
        if volume is None or corrected is None or corrected is not self.corrected or self._task is not None:
            return
        folder = self.panel.new_folder()
        try:
            mask = write_mask(corrected, volume, folder / _MASK_FILE, LUNGS)
            image = self.image
            order = {
                "kind": "submit",
                "folder": str(folder),
                "image": image,
                "volume": export_volume(volume, folder) if image is None else None,
                "mask": str(mask.path),
                "tag": "final",
                "study_label": self.label_form.label(),
            }
            self._begin(order, self._mask_saved, volume)
        except CovidBertError:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _submit_label(self) -> None:
        self.panel.may_upload(self._send_label)

    def _send_label(self) -> None:
        image, label = self.image, self.label_form.label()
        if image is not None and label is not None and self._task is None:
            order = {"kind": "study_label_put", "image": image, "study_label": label}
            self._begin(order, self._label_saved, self.panel.volume)

    def _begin(self, order: dict[str, Any], done: Any, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
        url, content = self.panel.server["url"], correction.of_image(volume)

        def failed(failure: Failure) -> None:
            self._keep(failure.kept, volume, url, content)
            if order["kind"] == "submit":
                self._outcome = _("Not submitted. Your correction is unchanged in the scene.")
                if "version" in failure.kept:
                    self._outcome = _("The mask was saved on the server, the study label was not.")

        def finished(result: dict[str, Any]) -> None:
            self._keep(result, volume, url, content)
            done(result)

        def cancelled() -> None:
            self._outcome = _("Cancelled. Your correction is unchanged in the scene.")
            self._keep({} if task is None else task.kept, volume, url, content)

        task = self.panel.start(
            order, done=finished, failed=failed, cancelled=cancelled, progress=self._progress, ended=self._ended
        )
        self._task, self._sent, self._outcome = task, volume, ""
        self.panel.messages.clear()
        self.ui.progressLabel.text = _("Starting …")
        self.ui.progressBar.setRange(0, 0)
        self.refresh()

    def _keep(self, facts: dict[str, Any], volume: Any, url: str, content: str) -> None:
        """Note under which id the server knows the volume now: it is not added a second time."""
        image = facts.get("image")
        if isinstance(image, str) and image and volume.GetScene() is not None:
            correction.remember_image(volume, url, image, content)

    def _mask_saved(self, result: dict[str, Any]) -> None:
        version, author = result.get("version"), result.get("author") or self.panel.offer.get("user", "")
        if version is None:
            self._outcome = _("Submitted; the server saved it and then did not say as which version.")
        else:
            self._outcome = _("Submitted as version {version} by {author}.").format(version=version, author=author)
        self.panel.messages.good(self._outcome)
        self._tell_worklist()

    def _label_saved(self, result: dict[str, Any]) -> None:
        self._outcome = _("Study label saved as version {version} by {author}.").format(
            version=result.get("version"), author=result.get("author") or self.panel.offer.get("user", "")
        )
        self.panel.messages.good(self._outcome)
        self._tell_worklist()

    def _tell_worklist(self) -> None:
        worklist: Any = self.panel.section("Worklist")
        worklist.update()

    def _progress(self, progress: Progress) -> None:
        self.ui.progressLabel.text = progress_text(progress)
        self.ui.progressBar.setRange(0, 0 if progress.fraction is None else 100)
        if progress.fraction is not None:
            self.ui.progressBar.setValue(round(100 * progress.fraction))

    def _cancel(self) -> None:
        if self._task is not None:
            self.ui.progressLabel.text = _("Cancelling; what has arrived is not taken back …")
            self._task.cancel()

    def _ended(self) -> None:
        self._task = None
        self.ui.progressLabel.text = ""
        self.refresh()

    def enter(self) -> None:
        """The editor follows the mouse in the views again, and its keys work while it is on show."""
        self.ui.editor.setupViewObservations()
        # They are digits, letters and Space, which presses buttons as long as nothing is corrected.
        self.ui.editor.installKeyboardShortcuts(self.ui.editor)

    def exit(self) -> None:
        """The editor lets the views go."""
        if self._editor_node is not None:
            self.ui.editor.setActiveEffectByName("")
        self.ui.editor.uninstallKeyboardShortcuts()
        self.ui.editor.removeViewObservations()

    def scene_closed(self) -> None:
        """The editor's node has gone with the scene."""
        self._editor_node, self._outcome = None, ""
        self.ui.editor.setMRMLSegmentEditorNode(None)

    def node_removed(self, node: slicer.vtkMRMLNode) -> None:
        """Notice that the mask being corrected was deleted."""
        if node.IsA("vtkMRMLSegmentationNode"):
            self.refresh()

    def cleanup(self) -> None:
        """Let the editor's node and the views go."""
        self.ui.editor.uninstallKeyboardShortcuts()
        self.ui.editor.removeViewObservations()
        self.ui.editor.setMRMLSegmentEditorNode(None)
        super().cleanup()
