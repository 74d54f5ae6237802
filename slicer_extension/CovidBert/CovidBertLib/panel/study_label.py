"""The widgets in which a reader says what a study shows."""

from __future__ import annotations

from typing import Any

from ..i18n import tr as _

CLASSES = ("covid", "non-covid", "normal", "other")
CERTAINTIES = ("certain", "probable", "possible")


def class_name(study_class: str) -> str:
    """Return what a class of the server's study labels is called."""
    names = {
        "covid": _("COVID-19"),
        "non-covid": _("Other pneumonia or lesion"),
        "normal": _("Normal"),
        "other": _("Something else"),
    }
    return names.get(study_class, study_class)


def certainty_name(certainty: str) -> str:
    """Return what a certainty is called."""
    names = {"certain": _("certain"), "probable": _("probable"), "possible": _("possible")}
    return names.get(certainty, certainty)


class StudyLabelForm:
    """Class, certainty and comment.

    Parameters
    ----------
    ui
        Widgets of the section's form.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._study: Any = None
        ui.classSelector.addItem(_("No label"), "")
        for study_class in CLASSES:
            ui.classSelector.addItem(class_name(study_class), study_class)
        for certainty in CERTAINTIES:
            ui.certaintySelector.addItem(certainty_name(certainty), certainty)

    def label(self) -> dict[str, str] | None:
        """Return the study label as the server takes it, None if no class is chosen."""
        study_class = str(self._ui.classSelector.currentData or "")
        if not study_class:
            return None
        certainty = str(self._ui.certaintySelector.currentData)
        return {"study_class": study_class, "certainty": certainty, "comment": self._ui.commentEdit.text.strip()}

    def follow(self, study: Any) -> None:
        """Forget what was said where the study is another than before: it is never sent with another one."""
        if study is not self._study:
            self._study = study
            self.clear()

    def clear(self) -> None:
        """Say nothing about a study, as before another one."""
        self._ui.classSelector.setCurrentIndex(0)
        self._ui.certaintySelector.setCurrentIndex(0)
        self._ui.commentEdit.text = ""
