"""The section that shows the server's training, and starts and stops it where the token allows that."""

from __future__ import annotations

from typing import Any

import qt

from ..i18n import tr as _
from ..process import Failure, Task
from ..training_log import TrainingLog, details, facts, is_running, model_of
from .curve import curve_height, paint_curve
from .paint import look_of, picture
from .section import Section

_POLL_MILLISECONDS = 3000
_ADMIN = "admin"
_LEAST_WIDTH = 200


class Train(Section):
    """State, curve, start and stop."""

    form = "Train"
    button = "trainSection"

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self._status: dict[str, Any] | None = None
        self._log = TrainingLog()
        self._is_known = False
        self._server: dict[str, Any] | None = None
        self._offered: Any = None
        self._asking: Task | None = None
        self._changing: Task | None = None
        self._timer: Any = None

    def setup(self) -> None:
        """Connect the widgets; the state is asked for again and again only while a training runs and is looked at."""
        self.ui.refreshButton.connect("clicked()", self.panel.guarded(self.ask))
        self.ui.startButton.connect("clicked()", self.panel.guarded(self._start))
        self.ui.stopButton.connect("clicked()", self.panel.guarded(self._stop))
        self.opener.connect("contentsCollapsed(bool)", self.panel.guarded(self._folded))
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MILLISECONDS)
        self._timer.connect("timeout()", self.panel.guarded(self._poll))

    def refresh(self) -> None:
        """Show what the server in use offers."""
        if self.panel.server is not self._server:
            self._server = self.panel.server
            self._forget()
        if self._offered is not self.panel.offer:
            self._offered = self.panel.offer
            self.ui.modelSelector.clear()
            for name in self._trainers():
                self.ui.modelSelector.addItem(name, name)
        has_trainers, may_change = bool(self._trainers()), _ADMIN in self.panel.offer.get("roles", ())
        running = is_running(self._status)
        for name in ("modelSelector", "startButton", "stopButton", "refreshButton"):
            getattr(self.ui, name).setVisible(has_trainers)
        can_change = may_change and self._changing is None
        self.ui.modelSelector.enabled = can_change and not running
        self.ui.startButton.enabled = can_change and not running
        self.ui.stopButton.enabled = can_change and running
        self.ui.refreshButton.enabled = self._asking is None
        self.ui.stateLabel.text = self._state(has_trainers, may_change)
        self._show_curve()
        self._show_lines()
        self.ui.versionsLabel.text = self._versions()
        self.ui.versionsLabel.setVisible(bool(self.ui.versionsLabel.text))

    def ask(self) -> None:
        """Ask the server for the state of its training."""
        if self.panel.server is not None and self._trainers() and self._asking is None:
            server = self.panel.server
            self._asking = self.panel.start(
                {"kind": "train_status"},
                done=lambda result: self._heard(result) if self.panel.server is server else None,
                failed=self._failed,
                ended=self._asked,
                quiet=True,
            )
            self.ui.refreshButton.enabled = False

    # ------------------------------------------------------------------ state

    def _trainers(self) -> list[str]:
        return list(self.panel.offer.get("trainers", ()))

    def _state(self, has_trainers: bool, may_change: bool) -> str:
        if self.panel.server is None:
            return _("To see the server's training, connect to it.")
        if not has_trainers:
            return _("This server does not train. Ask its administrator whether another one does.")
        sentences = [self._status_text()]
        if not may_change:
            sentences.append(_("To start or stop a training, use a token with the role admin."))
        return " ".join(sentences)

    def _status_text(self) -> str:
        if not self._is_known:
            return _("Press Refresh to see the state of the training.")
        if self._status is None:
            return _("Nothing has been trained since the server's start.")
        words = {
            "SUBMITTED": _("The training of {model} waits since {begin}."),
            "RUNNING": _("The training of {model} runs since {begin}."),
            "DONE": _("The training of {model} ended well, {end}."),
            "ERROR": _("The training of {model} failed, {end}. The last lines say why."),
        }
        state = str(self._status.get("status", ""))
        text = words.get(state, _("The training of {model} is in the state {state}."))
        begin, end = (str(self._status.get(name) or _("unknown time")) for name in ("start_ts", "end_ts"))
        return text.format(model=model_of(self._status) or _("a model"), begin=begin, end=end, state=state)

    def _versions(self) -> str:
        """Say which weights are in use; going back to others is the administrator's."""
        if self.panel.server is None:
            return ""
        result = self.panel.shown_result
        parts = [_("The server offers no earlier versions of its weights to go back to; its administrator has them.")]
        if result is not None and result.weights:
            names = ", ".join(f"{weights.name} {weights.version}" for weights in result.weights)
            parts.insert(0, _("Weights behind the result on show: {names}.").format(names=names))
        return " ".join(parts)

    def _show_curve(self) -> None:
        label, series = self.ui.curveLabel, self._log.series
        label.setVisible(bool(series))
        if series:
            width = max(_LEAST_WIDTH, self.widget.width - 4)
            height, look = curve_height(series), look_of(self.widget)

            def paint(painter: Any) -> None:
                paint_curve(painter, series, self._log.epochs, width, look)

            label.setPixmap(picture(width, height, label.devicePixelRatioF(), paint))
            label.setFixedHeight(round(height))
        found = facts(self._status)
        self.ui.factsLabel.text = "\n".join(f"{name}: {value}" for name, value in found.items())
        self.ui.factsLabel.setVisible(bool(found))

    def _show_lines(self) -> None:
        lines = details(self._status)
        self.ui.linesBox.setVisible(bool(lines))
        text = "\n".join(lines)
        if text != self.ui.linesText.plainText:
            self.ui.linesText.setPlainText(text)

    def _forget(self) -> None:
        self._status, self._is_known, self._log = None, False, TrainingLog()
        self._timer.stop()

    # ------------------------------------------------------------------ orders

    def _heard(self, result: dict[str, Any]) -> None:
        self._status, self._is_known = result["status"], True
        self._log.take(self._status)
        if is_running(self._status) and self._is_looked_at():
            self._timer.start()
        else:
            self._timer.stop()
        self.refresh()

    def _failed(self, failure: Failure) -> None:
        self._timer.stop()
        self.panel.messages.failure(failure)

    def _asked(self) -> None:
        self._asking = None
        self.refresh()

    def _poll(self) -> None:
        if self._is_looked_at():
            self.ask()
        else:
            self._timer.stop()

    def _is_looked_at(self) -> bool:
        return not self.opener.collapsed and self.opener.isVisible()

    def _start(self) -> None:
        model, server = str(self.ui.modelSelector.currentData or ""), self.panel.server
        self.panel.messages.ask(
            _("Start the training of {model}? It uses the server's labels, and can take hours.").format(model=model),
            _("Start the training"),
            _("Do not start"),
            self.panel.guarded(lambda: self._change({"kind": "train_start", "model": model, "params": {}}, server)),
        )

    def _stop(self) -> None:
        server = self.panel.server
        self.panel.messages.ask(
            _("Stop the training of {model}? What it has learned so far may be lost.").format(
                model=model_of(self._status)
            ),
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
        self.ask()

    # ------------------------------------------------------------------ panel

    def _folded(self, is_collapsed: bool) -> None:
        if is_collapsed:
            self._timer.stop()
        elif not self._is_known or is_running(self._status):
            self.ask()

    def enter(self) -> None:
        """Ask again, where a training ran when the panel was left."""
        if is_running(self._status) and not self.opener.collapsed:
            self.panel.guarded(self.ask)()

    def exit(self) -> None:
        """Nobody looks: nothing is asked."""
        self._timer.stop()

    def cleanup(self) -> None:
        """Stop asking."""
        self._timer.stop()
        super().cleanup()
