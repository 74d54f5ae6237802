"""The section in which a mask is corrected, compared with the automatic one, and submitted with a study label."""

from __future__ import annotations

from typing import Any

import slicer

from .. import correction
from ..i18n import tr as _
from ..process import Progress
from ..segments import LESIONS, LUNGS
from .comparing import Comparing
from .doubts import ask_own_study, other_image_words
from .section import Section
from .stages import progress_text
from .study_label import StudyLabelForm
from .submission import Submission


class Correct(Section):
    """Correct and submit."""

    form = "Correct"
    button = "correctSection"

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self.label_form: Any = None
        self._comparing: Any = None
        self._submission: Any = None
        self._editor_node: Any = None

    def setup(self) -> None:
        """Prepare editor, table and choices."""
        for text, mask in ((_("Lungs"), LUNGS), (_("Lesions"), LESIONS)):
            self.ui.maskSelector.addItem(text, mask)
        self.label_form = StudyLabelForm(self.ui)
        self._comparing = Comparing(self.panel, self.ui.comparisonTable, self.ui.comparisonLabel, self._show_progress)
        self._submission = Submission(self.panel, self._show_progress)
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
        """Whether something is being compared or submitted."""
        return self._submission.is_running or self._comparing.is_running

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
        self.ui.editor.enabled = not self._submission.is_running
        self.ui.compareButton.setVisible(corrected is not None)
        self.ui.compareButton.enabled = is_idle
        self.ui.labelBox.enabled = not self._submission.is_running
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
        return str(self._submission.outcome(self.panel.volume)) or other_image_words(self.panel)

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
        self._submission.forget_outcome()
        self.refresh()

    def _edit(self, segmentation: slicer.vtkMRMLSegmentationNode | None) -> None:
        """Let the editor work on a segmentation, None for none."""
        if segmentation is None:
            if self._editor_node is not None:
                self.ui.editor.setSegmentationNode(None)
                self.ui.editor.setSourceVolumeNode(None)
            self._comparing.forget()
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
            self._comparing.forget()

    def _mask_chosen(self, _index: int) -> None:
        self._comparing.forget()
        self.refresh()

    def _compare(self) -> None:
        if self.corrected is not None and not self.is_busy:
            self._comparing.start(self.automatic, self.corrected, self.panel.volume, self.mask)

    # ----------------------------------------------------------------- submit

    def _submit(self) -> None:
        volume, corrected = self.panel.volume, self.corrected
        ask_own_study(self.panel, lambda: self.panel.may_upload(lambda: self._send_mask(volume, corrected)))

    def _send_mask(self, volume: Any, corrected: Any) -> None:
        if volume is not None and corrected is not None and corrected is self.corrected and not self.is_busy:
            self._submission.send_mask(corrected, volume, self.image, self.label_form.label())

    def _submit_label(self) -> None:
        volume = self.panel.volume
        self.panel.may_upload(lambda: self._send_label(volume))

    def _send_label(self, volume: Any) -> None:
        if self.panel.volume is not volume:
            self.panel.messages.attention(_("The study was changed: nothing was sent."), _("Press the button again."))
            return
        image, label = self.image, self.label_form.label()
        if image is not None and label is not None and not self.is_busy:
            self._submission.send_label(self.panel.volume, image, label)

    def _show_progress(self, progress: Progress | None) -> None:
        """Show how far it is; None as it begins or ends."""
        fraction = None
        if progress is not None:
            self.ui.progressLabel.text, fraction = progress_text(progress), progress.fraction
        elif self._comparing.is_running:
            self.ui.progressLabel.text = _("Comparing …")
        else:
            self.ui.progressLabel.text = _("Starting …") if self.is_busy else ""
        self.ui.progressBar.setRange(0, 0 if fraction is None else 100)
        if fraction is not None:
            self.ui.progressBar.setValue(round(100 * fraction))
        if progress is None:
            self.refresh()

    def _cancel(self) -> None:
        if self._submission.is_running:
            self.ui.progressLabel.text = _("Cancelling; what has arrived is not taken back …")
            self._submission.cancel()
        elif self._comparing.is_running:
            self.ui.progressLabel.text = _("Cancelling")
            self._comparing.cancel()

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
        """The editor's node has gone with the scene, and what was being copied of it."""
        self._submission.cancel()
        self._editor_node = None
        self._submission.forget_outcome()
        self.ui.editor.setMRMLSegmentEditorNode(None)

    def node_removed(self, node: slicer.vtkMRMLNode) -> None:
        """Notice that the mask being corrected was deleted."""
        if node.IsA("vtkMRMLSegmentationNode"):
            self.refresh()

    def cleanup(self) -> None:
        """Let the editor's node and the views go."""
        self._comparing.close()
        self._submission.close()
        self.ui.editor.uninstallKeyboardShortcuts()
        self.ui.editor.removeViewObservations()
        self.ui.editor.setMRMLSegmentEditorNode(None)
        super().cleanup()
