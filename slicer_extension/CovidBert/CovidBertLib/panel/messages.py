"""The panel's line for messages, and the one for questions, in the place of windows that pop up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..i18n import tr as _
from ..problems import CovidBertError
from .colors import ATTENTION, ERROR, GOOD, tint

if TYPE_CHECKING:
    from ..process import Failure


class Messages:
    """Shows one message and one question at a time.

    Parameters
    ----------
    ui
        Widgets of the main form.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._on_yes: Callable[[], None] | None = None
        self._on_no: Callable[[], None] | None = None
        ui.closeMessageButton.connect("clicked()", self.clear)
        ui.yesButton.connect("clicked()", self._yes)
        ui.noButton.connect("clicked()", self._no)
        ui.messageFrame.setVisible(False)
        ui.questionFrame.setVisible(False)

    def good(self, text: str) -> None:
        """Say what has been done."""
        self._show(text, "", GOOD)

    def attention(self, text: str, hint: str = "") -> None:
        """Say what the user should know."""
        self._show(text, hint, ATTENTION)

    def error(self, message: str, hint: str = "", request_id: str | None = None) -> None:
        """Say what went wrong and what to do.

        Parameters
        ----------
        message, hint
            One sentence each.
        request_id
            What to look for in the server's log.
        """
        self._show(message, hint, ERROR, request_id)
        self._scroll_to(self._ui.messageFrame)

    def failure(self, failure: Failure) -> None:
        """Show why an order failed."""
        self.error(failure.message, failure.hint, failure.request_id)

    def problem(self, problem: CovidBertError) -> None:
        """Show an error of the extension's own."""
        self.error(problem.message, problem.hint)

    def ask(
        self,
        question: str,
        yes_text: str,
        no_text: str,
        on_yes: Callable[[], None],
        on_no: Callable[[], None] | None = None,
    ) -> None:
        """Ask with two buttons; a question that was still open is answered with no.

        Parameters
        ----------
        question
            What is asked, with all that is needed to answer.
        yes_text, no_text
            What the buttons do.
        on_yes, on_no
            Called at the answer.
        """
        self._no()
        self._on_yes, self._on_no = on_yes, on_no
        self._ui.questionLabel.text = question
        self._ui.yesButton.text, self._ui.noButton.text = yes_text, no_text
        self._ui.questionFrame.setStyleSheet(tint("questionFrame", ATTENTION))
        self._ui.questionFrame.setVisible(True)
        self._scroll_to(self._ui.questionFrame)

    @property
    def text(self) -> str:
        """The message on show, "" for none."""
        return str(self._ui.messageLabel.text)

    def clear(self) -> None:
        """Take the message away."""
        self._ui.messageLabel.text = ""
        self._ui.messageFrame.setVisible(False)

    def withdraw(self) -> None:
        """Take the question away, answered with no."""
        self._no()

    def _show(self, text: str, hint: str, color: str, request_id: str | None = None) -> None:
        self._ui.messageLabel.text = text
        self._ui.hintLabel.text = hint
        self._ui.hintLabel.setVisible(bool(hint))
        self._ui.requestLabel.text = _("For the server's log: {identifier}").format(identifier=request_id)
        self._ui.requestLabel.setVisible(bool(request_id))
        self._ui.messageFrame.setStyleSheet(tint("messageFrame", color))
        self._ui.messageFrame.setVisible(True)

    def _yes(self) -> None:
        self._answer(self._on_yes)

    def _no(self) -> None:
        self._answer(self._on_no)

    def _answer(self, answer: Callable[[], None] | None) -> None:
        self._on_yes = self._on_no = None
        self._ui.questionFrame.setVisible(False)
        if answer is not None:
            answer()

    def _scroll_to(self, frame: Any) -> None:
        """Bring a line into view, where the panel is scrolled."""
        parent = frame.parentWidget()
        while parent is not None:
            if parent.inherits("QScrollArea"):
                parent.ensureWidgetVisible(frame)
                return
            parent = parent.parentWidget()
