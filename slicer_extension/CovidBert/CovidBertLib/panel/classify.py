"""Section "Study": choose a volume and a model, and let the server classify it."""

from __future__ import annotations

from typing import Any

from .. import overlay
from ..export import check_volume
from ..i18n import tr as _
from ..problems import CovidBertError
from ..scene import Shown
from ..stored import ROLE_ATTRIBUTE
from .jobs import Job
from .section import Section
from .stages import progress_text

_CLASSIFICATION = "classification"
_PERCENT = 100


class Classify(Section):
    """Volume, model, one button, and how far it is."""

    form = "Classify"
    button = "classifySection"
    _offered: Any = None
    _is_filling = False

    def setup(self) -> None:
        """Connect the widgets."""
        self.ui.volumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._choose_volume)
        self.ui.modelComboBox.connect("currentIndexChanged(int)", self._choose_model)
        self.ui.classifyButton.connect("clicked()", self.classify_or_cancel)

    def refresh(self) -> None:
        """Show volume, models, what runs, and why the button cannot be pressed."""
        panel, ui = self.panel, self.ui
        if ui.volumeSelector.currentNode() is not panel.volume:
            self._is_filling = True
            ui.volumeSelector.setCurrentNode(panel.volume)
            self._is_filling = False
        if self._offered is not panel.offer:
            self._offered = panel.offer
            self._list_models()
        job = panel.jobs.running(panel.volume)
        ui.modelComboBox.setEnabled(job is None and ui.modelComboBox.count > 0)
        reason = "" if job is not None else self._obstacle()
        ui.reasonLabel.text = reason
        ui.reasonLabel.setVisible(bool(reason))
        ui.classifyButton.text = _("Classify") if job is None else _("Cancel")
        ui.classifyButton.setEnabled(not reason and (job is None or not job.is_cancelling))
        self._show_progress(job)
        others = [other for other in panel.jobs.all() if other is not job]
        names = ", ".join(other.volume.GetName() for other in others)
        ui.othersLabel.text = _("Also being classified: {names}.").format(names=names)
        ui.othersLabel.setVisible(bool(others))

    def classify_or_cancel(self) -> None:
        """Do what the button says."""
        if self.panel.jobs.running(self.panel.volume) is None:
            self.classify()
        else:
            self.panel.jobs.cancel(self.panel.volume)

    def classify(self) -> None:
        """Classify the volume, after asking whether it may be sent; say why where it cannot be."""
        job = self.panel.jobs.running(self.panel.volume)
        obstacle = self._obstacle()
        if job is not None:
            self.panel.messages.attention(
                _("{name} is already being classified.").format(name=self.panel.volume.GetName()),
                _("Wait for its result, or press Cancel first."),
            )
        elif obstacle:
            self.panel.messages.attention(_("Nothing can be classified yet."), obstacle)
        else:
            volume = self.panel.volume
            self.panel.may_upload(lambda: self._start(volume))

    # ------------------------------------------------------------------ what

    def _choose_volume(self, node: Any) -> None:
        if not self._is_filling:
            self.panel.set_volume(node)

    def _choose_model(self, _index: int) -> None:
        if not self._is_filling and self.panel.server is not None:
            self.panel.model = self._model()
            self.panel.settings.save_model(self.panel.server["url"], self._model())

    def _model(self) -> str:
        return str(self.ui.modelComboBox.currentData or "")

    def _list_models(self) -> None:
        """List the models that classify; the one that was chosen last stays chosen."""
        panel, box = self.panel, self.ui.modelComboBox
        models = panel.offer.get("models", {})
        names = [name for name, facts in models.items() if _facts(facts).get("type") == _CLASSIFICATION]
        before = panel.settings.model(panel.server["url"]) if panel.server is not None else ""
        wanted = next((name for name in (panel.model, before) if name in names), names[0] if names else "")
        self._is_filling = True
        box.clear()
        titles = [_title(name, _facts(models[name])) for name in names]
        for name, title in zip(names, titles):
            box.addItem(title if titles.count(title) == 1 else f"{title} ({name})", name)
        if wanted:
            box.setCurrentIndex(names.index(wanted))
        self._is_filling = False

    def _obstacle(self) -> str:
        """Return why nothing can be classified and what to do, or ""."""
        panel = self.panel
        if panel.server is None:
            return _("Press Test connection in the section Server.")
        if not self._model():
            return _("The server offers no model that classifies. Ask its administrator, or use another server.")
        if panel.volume is None:
            return _("Choose a chest CT volume, or load one first.")
        if panel.volume.GetAttribute(ROLE_ATTRIBUTE):
            return _("This volume is a map of an earlier result. Choose the CT volume itself.")
        try:
            check_volume(panel.volume)
        except CovidBertError as problem:
            return f"{problem.message} {problem.hint}"
        return ""

    # ------------------------------------------------------------------- run

    def _start(self, volume: Any) -> None:
        if volume.GetScene() is None:
            return
        self.panel.messages.clear()
        self.panel.jobs.start(
            volume,
            self._model(),
            shown=self._shown,
            progress=self._heard,
            cancelled=lambda: self.panel.messages.attention(_("Cancelled. Nothing was changed.")),
        )

    def _heard(self, job: Job) -> None:
        if job.volume is self.panel.volume:
            self._show_progress(job)

    def _show_progress(self, job: Job | None) -> None:
        ui = self.ui
        ui.progressBar.setVisible(job is not None)
        ui.stageLabel.setVisible(job is not None)
        if job is None:
            return
        fraction = None if job.progress is None or job.is_cancelling else job.progress.fraction
        # A bar without an end moves by itself: nobody knows how long this takes.
        ui.progressBar.maximum = 0 if fraction is None else _PERCENT
        ui.progressBar.value = 0 if fraction is None else round(fraction * _PERCENT)
        ui.stageLabel.text = _("Cancelling") if job.is_cancelling else progress_text(job.progress)

    def _shown(self, volume: Any, shown: Shown) -> None:
        if volume is self.panel.volume and shown.location is not None:
            overlay.show_overlay(volume, shown.location)
        self.panel.messages.good(_("{name} was classified.").format(name=volume.GetName()))
        self.panel.refresh()


def _facts(facts: Any) -> dict[str, Any]:
    return facts if isinstance(facts, dict) else {}


def _title(name: str, facts: dict[str, Any]) -> str:
    """Return what the server calls a model, without the sentences that are the same for all."""
    description = str(facts.get("description") or "")
    title = description.partition(": ")[2].partition(". ")[0].strip(" .")
    return title or name
