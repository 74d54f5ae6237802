"""The versions of a model in the section Train: which is live, what they were measured at, publish and roll back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from ..i18n import tr as _
from ..model_versions import DAMAGED, LIVE, Measure, Model, ModelVersion, read_models
from ..process import Task
from .colors import ERROR
from .context import Panel
from .tables import fit_height, mark_row, selected_key, set_columns, set_row, text_cell

_ADMIN = "admin"
_ROWS = 5
_DAY_LETTERS = 10


class Versions:
    """Table, details and buttons of one model's versions.

    Parameters
    ----------
    panel
        What the sections share.
    ui
        Widgets of the section.
    model
        Returns the name of the model that is chosen.
    """

    def __init__(self, panel: Panel, ui: Any, model: Callable[[], str]) -> None:
        self.panel, self.ui, self._model = panel, ui, model
        self._models: tuple[Model, ...] | None = None
        self._shown: Model | None = None
        self._asking: Task | None = None
        self._changing: Task | None = None
        set_columns(ui.versionsTable, [_("Version"), _("State"), _("Made"), _("Measured"), _("Gate")])
        ui.versionsTable.connect("itemSelectionChanged()", panel.guarded(self.refresh))
        ui.publishButton.connect("clicked()", panel.guarded(self._publish))
        ui.rollBackButton.connect("clicked()", panel.guarded(self._roll_back))

    @property
    def names(self) -> list[str]:
        """Models that the server has versions of, as far as it was asked."""
        return [model.name for model in self._models or ()]

    def forget(self) -> None:
        """Another server, or none: its versions are not known."""
        self._models = self._asking = self._changing = None

    def ask(self) -> None:
        """Ask the server for the versions of its models."""
        server = self.panel.server
        if server is not None and self._asking is None:
            self._asking = task = self.panel.start(
                {"kind": "weights"},
                done=lambda result: self._heard(result) if self._asking is task else None,
                ended=lambda: self._over(task),
            )

    def refresh(self) -> None:
        """Show the versions of the chosen model, and what can be done with the selected one."""
        model = self._chosen()
        self._fill(model)
        version = None if model is None else model.version(selected_key(self.ui.versionsTable))
        may_change = _ADMIN in self.panel.offer.get("roles", ()) and self._changing is None
        can_publish = version is not None and version.state not in {LIVE, DAMAGED}
        can_go_back = model is not None and any(other.state not in {LIVE, DAMAGED} for other in model.versions)
        self.ui.versionsTable.setVisible(model is not None)
        self.ui.publishButton.setVisible(model is not None)
        self.ui.rollBackButton.setVisible(model is not None)
        self.ui.publishButton.enabled = may_change and can_publish
        self.ui.rollBackButton.enabled = may_change and can_go_back
        self.ui.versionsLabel.text = self._state(model)
        self.ui.versionLabel.text = "" if version is None else _told(version)
        self.ui.versionLabel.setVisible(version is not None)

    # ------------------------------------------------------------------ state

    def _chosen(self) -> Model | None:
        name = self._model()
        return next((model for model in self._models or () if model.name == name), None)

    def _state(self, model: Model | None) -> str:
        parts = []
        result = self.panel.shown_result
        if result is not None and result.weights:
            names = ", ".join(f"{weights.name} {weights.version}" for weights in result.weights)
            parts.append(_("Weights behind the result on show: {names}.").format(names=names))
        if self.panel.server is not None and self._models is None:
            parts.append(_("Press Refresh to see the versions."))
        elif self._models is not None and model is None:
            parts.append(_("The server has no versions of this model."))
        if model is not None:
            live = model.live or _("none")
            parts.append(_("Live version of {model}: {version}.").format(model=model.name, version=live))
            if model.warning:
                parts.append(model.warning)
        return " ".join(parts)

    def _fill(self, model: Model | None) -> None:
        table = self.ui.versionsTable
        if model is None or self._shown == model:
            return
        chosen = selected_key(table)
        table.blockSignals(True)
        table.setRowCount(len(model.versions))
        for row, version in enumerate(model.versions):
            cells = [text_cell(text) for text in _texts(version)]
            mark_row(cells[0], version.version)
            if version.state == DAMAGED:
                cells[1].setForeground(qt.QBrush(qt.QColor(ERROR)))
            set_row(table, row, cells)
        table.clearSelection()
        for row, version in enumerate(model.versions):
            if version.version == chosen:
                table.selectRow(row)
        table.blockSignals(False)
        fit_height(table, max(2, min(_ROWS, len(model.versions))))
        self._shown = model

    # ----------------------------------------------------------------- orders

    def _heard(self, result: dict[str, Any]) -> None:
        self._models = read_models(result)

    def _over(self, task: Task) -> None:
        if self._asking is task:
            self._asking = None
            self.panel.refresh()

    def _publish(self) -> None:
        model = self._chosen()
        version = None if model is None else model.version(selected_key(self.ui.versionsTable))
        if model is None or version is None:
            return
        despite_gate = version.needs_word is not None
        words = {"version": version.version, "model": model.name}
        question = _("Make {version} the live version of {model}? Results come from it from then on.").format(**words)
        if version.needs_word is not None:
            question = f"{question} {version.needs_word}"
        self._ask_first(
            question,
            _("Publish in spite of that") if despite_gate else _("Publish"),
            {"kind": "weights_publish", "despite_gate": despite_gate, **words},
            _("{version} of {model} is live.").format(**words),
        )

    def _roll_back(self) -> None:
        model = self._chosen()
        if model is None:
            return
        self._ask_first(
            _("Go back from {version} to the version of {model} that was live before?").format(
                version=model.live or _("none"), model=model.name
            ),
            _("Roll back"),
            {"kind": "weights_roll_back", "model": model.name},
            _("The version of {model} that was live before is live again.").format(model=model.name),
        )

    def _ask_first(self, question: str, yes: str, order: dict[str, Any], said: str) -> None:
        server = self.panel.server
        self.panel.messages.ask(
            question, yes, _("Leave it as it is"), self.panel.guarded(lambda: self._change(order, said, server))
        )

    def _change(self, order: dict[str, Any], said: str, server: dict[str, Any] | None) -> None:
        if self.panel.server is not server:
            self.panel.messages.attention(_("The server was changed: nothing was done."), _("Press the button again."))
        elif self._changing is None:
            self._changing = task = self.panel.start(
                order, done=lambda _result: self.panel.messages.good(said), ended=lambda: self._changed(task)
            )
            self.refresh()

    def _changed(self, task: Task) -> None:
        # What became of it, the server is asked: it may have been done though no answer came.
        if self._changing is task:
            self._changing = None
            self.refresh()
            self.panel.guarded(self.ask)()


def _texts(version: ModelVersion) -> list[str]:
    states = {
        "live": _("live"),
        "candidate": _("candidate"),
        "former": _("was live"),
        "shipped": _("shipped"),
        "damaged": _("damaged"),
    }
    gate = "–" if version.gate is None else _("passed") if version.gate.passed else _("not passed")
    measured = f"{version.measures[0].value:.3f}" if version.measures else "–"
    return [version.version, states.get(version.state, version.state), version.created[:_DAY_LETTERS], measured, gate]


def _told(version: ModelVersion) -> str:
    lines = []
    if version.is_demonstration:
        lines.append(_("DEMONSTRATION WEIGHTS: trained on generated data. The result says nothing about a patient."))
    if version.gate is not None:
        words = _("Gate passed: {reason}") if version.gate.passed else _("Gate not passed: {reason}")
        lines += [words.format(reason=version.gate.reason), _("Rule: {rule}").format(rule=version.gate.rule)]
    lines += [_measured(measure) for measure in version.measures]
    if version.trained_on:
        lines.append(_("Trained on: {text}").format(text=version.trained_on))
    return "\n".join(lines)


def _measured(measure: Measure) -> str:
    words = _("{measure}: {number} ({data})")
    if measure.patients is not None:
        words = _("{measure}: {number} ({data}; patients: {patients})")
    return words.format(measure=measure.name, number=_number(measure), data=measure.data, patients=measure.patients)


def _number(measure: Measure) -> str:
    if measure.lower is None or measure.upper is None:
        return f"{measure.value:.3f}"
    return f"{measure.value:.3f} [{measure.lower:.3f}, {measure.upper:.3f}]"
