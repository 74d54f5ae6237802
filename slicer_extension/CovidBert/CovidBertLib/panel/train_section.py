"""The section that shows the server's training, starts and stops it where the token allows that, and its versions."""

from __future__ import annotations

from typing import Any

import qt

from ..i18n import tr as _
from ..process import Failure, Progress, Task
from ..training_state import TrainingState
from .curve import curve_height, paint_curve
from .paint import look_of, picture
from .section import Section
from .stages import progress_text
from .versions_part import Versions

_POLL_MILLISECONDS = 3000
_ADMIN = "admin"
_LEAST_WIDTH = 200
_PERCENT = 100
_NAMED = 5


class Train(Section):
    """State, curve, start and stop; versions of the models."""

    form = "Train"
    button = "trainSection"

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self._state: TrainingState | None = None
        self._is_known = False
        self._server: dict[str, Any] | None = None
        self._asking: Task | None = None
        self._changing: Task | None = None
        self._timer: Any = None
        self.versions: Versions | None = None

    def setup(self) -> None:
        """Connect the widgets; the state is asked for again and again only while a training runs and is looked at."""
        self.versions = Versions(self.panel, self.ui, self._model)
        self.ui.refreshButton.connect("clicked()", self.panel.guarded(self.ask))
        self.ui.startButton.connect("clicked()", self.panel.guarded(self._start))
        self.ui.stopButton.connect("clicked()", self.panel.guarded(self._stop))
        self.ui.modelSelector.connect("currentIndexChanged(int)", self.panel.guarded(self._chosen))
        self.opener.connect("contentsCollapsed(bool)", self.panel.guarded(self._folded))
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MILLISECONDS)
        self._timer.connect("timeout()", self.panel.guarded(self._poll))

    def refresh(self) -> None:
        """Show what the server in use offers."""
        if self.panel.server is not self._server:
            self._server = self.panel.server
            self._forget()
        self._fill_models()
        has_server, has_trainers = self.panel.server is not None, bool(self._trainers())
        may_change = _ADMIN in self.panel.offer.get("roles", ())
        running = self._state is not None and self._state.is_running
        for name in ("startButton", "stopButton", "publishBox"):
            getattr(self.ui, name).setVisible(has_trainers)
        for name in ("modelSelector", "refreshButton", "versionsBox"):
            getattr(self.ui, name).setVisible(has_server)
        can_change = may_change and self._changing is None
        trains = self._model() in self._trainers()
        self.ui.startButton.enabled = self.ui.publishBox.enabled = can_change and trains and not running
        self.ui.stopButton.enabled = can_change and running
        self.ui.refreshButton.enabled = self._asking is None
        self.ui.stateLabel.text = self._sentences(has_trainers, may_change)
        self._show_progress()
        self._show_curve()
        self._show_texts()
        self._own_versions().refresh()

    def ask(self) -> None:
        """Ask the server for the state of its training, and for the versions of its models."""
        self._own_versions().ask()
        self._ask_state()

    # ------------------------------------------------------------------ state

    def _own_versions(self) -> Versions:
        assert self.versions is not None, "made by setup"
        return self.versions

    def _trainers(self) -> list[str]:
        return list(self.panel.offer.get("trainers", ()))

    def _model(self) -> str:
        return str(self.ui.modelSelector.currentData or "")

    def _fill_models(self) -> None:
        """List what can be trained, and what there are versions of, without losing what is chosen."""
        selector, chosen = self.ui.modelSelector, self._model()
        names = list(dict.fromkeys([*self._trainers(), *self._own_versions().names]))
        if names != [str(selector.itemData(place)) for place in range(selector.count)]:
            selector.blockSignals(True)
            selector.clear()
            for name in names:
                selector.addItem(name, name)
            if chosen in names:
                selector.setCurrentIndex(names.index(chosen))
            selector.blockSignals(False)

    def _sentences(self, has_trainers: bool, may_change: bool) -> str:
        if self.panel.server is None:
            return _("To see the server's training, connect to it.")
        if not has_trainers:
            return _("This server does not train. Ask its administrator whether another one does.")
        sentences = [self._status_text()]
        if not may_change:
            sentences.append(_("To start or stop a training or change versions, use a token with the role admin."))
        return " ".join(sentences)

    def _status_text(self) -> str:
        if not self._is_known:
            return _("Press Refresh to see the state of the training.")
        state = self._state
        if state is None:
            return _("Nothing has been trained on this server yet.")
        words = {
            "SUBMITTED": _("The training of {model} waits since {begin}."),
            "RUNNING": _("The training of {model} runs since {begin}."),
            "DONE": _("The training of {model} ended well, {end}."),
            "STOPPED": _("The training of {model} was stopped, {end}."),
            "ERROR": _("The training of {model} failed, {end}."),
        }
        text = words.get(state.status, _("The training of {model} is in the state {state}."))
        unknown = _("unknown time")
        begin, end = state.begin or unknown, state.end or unknown
        parts = [text.format(model=state.model or _("a model"), begin=begin, end=end, state=state.status)]
        parts += [part for part in (state.message, state.hint) if part]
        if state.outcome is not None:
            parts.append(self._outcome_text(state))
        return " ".join(parts)

    def _outcome_text(self, state: TrainingState) -> str:
        made = state.outcome
        if made is None:
            return ""
        if made.published:
            words = _("Version {version} passed the gate and is live. {reason}")
        elif made.passed:
            words = _("Version {version} passed the gate and can be published. {reason}")
        else:
            words = _("Version {version} did not pass the gate and stays a candidate; nothing has changed. {reason}")
        return words.format(version=made.version, reason=made.reason).strip()

    def _show_progress(self) -> None:
        state, bar = self._state, self.ui.progressBar
        running = state is not None and state.is_running
        bar.setVisible(running)
        if state is None or not running:
            return
        bar.setRange(0, _PERCENT if state.fraction is not None else 0)
        bar.setValue(round(_PERCENT * (state.fraction or 0.0)))
        parts = [progress_text(Progress(state.stage or "training", state.fraction, None, state.seconds_left))]
        if state.epoch is not None and state.epochs is not None:
            parts.append(_("epoch {epoch} of {epochs}").format(epoch=state.epoch, epochs=state.epochs))
        bar.setFormat(", ".join(parts))

    def _show_curve(self) -> None:
        label, series = self.ui.curveLabel, {} if self._state is None else self._state.series
        label.setVisible(bool(series))
        if series and self._state is not None:
            epochs = self._state.epochs
            width = max(_LEAST_WIDTH, self.widget.width - 4)
            height, look = curve_height(series), look_of(self.widget)

            def paint(painter: Any) -> None:
                paint_curve(painter, series, epochs, width, look)

            label.setPixmap(picture(width, height, label.devicePixelRatioF(), paint))
            label.setFixedHeight(round(height))

    def _show_texts(self) -> None:
        left_out = () if self._state is None else self._state.left_out
        lines = [f"{identifier}: {reason}" for identifier, reason in left_out[:_NAMED]]
        if lines:
            lines.insert(0, _("Labelled studies that could not be used: {count}").format(count=len(left_out)))
        self.ui.leftOutLabel.text = "\n".join(lines)
        self.ui.leftOutLabel.setVisible(bool(lines))
        text = "" if self._state is None else "\n".join(self._state.lines)
        self.ui.linesBox.setVisible(bool(text))
        if text != self.ui.linesText.plainText:
            self.ui.linesText.setPlainText(text)

    def _forget(self) -> None:
        self._state, self._is_known = None, False
        self._asking = None
        self._timer.stop()
        self._own_versions().forget()

    # ------------------------------------------------------------------ orders

    def _ask_state(self) -> None:
        if self.panel.server is not None and self._trainers() and self._asking is None:
            server = self.panel.server
            self._asking = task = self.panel.start(
                {"kind": "train_status"},
                done=lambda result: self._heard(result) if self.panel.server is server else None,
                failed=self._failed,
                ended=lambda: self._asked(task),
                quiet=True,
            )
            self.ui.refreshButton.enabled = False

    def _heard(self, result: dict[str, Any]) -> None:
        ran = self._state is not None and self._state.is_running
        self._state, self._is_known = TrainingState.read(result["status"]), True
        runs = self._state is not None and self._state.is_running
        if runs and self._is_looked_at():
            self._timer.start()
        else:
            self._timer.stop()
        if ran and not runs:
            # It may have made a version.
            self._own_versions().ask()
        self.refresh()

    def _failed(self, failure: Failure) -> None:
        self._timer.stop()
        self.panel.messages.failure(failure)

    def _asked(self, task: Task) -> None:
        if self._asking is task:
            self._asking = None
            self.refresh()

    def _poll(self) -> None:
        if self._is_looked_at():
            self._ask_state()
        else:
            self._timer.stop()

    def _is_looked_at(self) -> bool:
        return not self.opener.collapsed and self.opener.isVisible()

    def _start(self) -> None:
        model, server = self._model(), self.panel.server
        order = {"kind": "train_start", "model": model, "params": {"publish": bool(self.ui.publishBox.checked)}}
        self.panel.messages.ask(
            _("Start the training of {model}? It uses the server's labels, and can take hours.").format(model=model),
            _("Start the training"),
            _("Do not start"),
            self.panel.guarded(lambda: self._change(order, server)),
        )

    def _stop(self) -> None:
        server, model = self.panel.server, "" if self._state is None else self._state.model
        self.panel.messages.ask(
            _("Stop the training of {model}? No version is made from what it has learned so far.").format(model=model),
            _("Stop the training"),
            _("Let it run"),
            self.panel.guarded(lambda: self._change({"kind": "train_stop"}, server)),
        )

    def _change(self, order: dict[str, Any], server: dict[str, Any] | None) -> None:
        if self.panel.server is not server:
            self.panel.messages.attention(_("The server was changed: nothing was done."), _("Press the button again."))
        elif self._changing is None:
            self._changing = self.panel.start(order, done=lambda _result: None, ended=self._changed)
            self.refresh()

    def _changed(self) -> None:
        # What became of it, the server is asked: it may have begun or stopped though no answer came.
        self._changing = None
        self.refresh()
        self._ask_state()

    # ------------------------------------------------------------------- panel

    def _chosen(self, _place: int) -> None:
        self.refresh()

    def _folded(self, is_collapsed: bool) -> None:
        if is_collapsed:
            self._timer.stop()
        elif not self._is_known:
            self.ask()
        elif self._state is not None and self._state.is_running:
            self._ask_state()

    def enter(self) -> None:
        """Ask again, where a training ran when the panel was left."""
        if self._state is not None and self._state.is_running and not self.opener.collapsed:
            self.panel.guarded(self._ask_state)()

    def exit(self) -> None:
        """Nobody looks: nothing is asked."""
        self._timer.stop()

    def cleanup(self) -> None:
        """Stop asking."""
        self._timer.stop()
        super().cleanup()
