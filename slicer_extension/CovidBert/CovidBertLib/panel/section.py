"""One section of the panel: a form, and what its widgets do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer

if TYPE_CHECKING:
    from .context import Panel


class Section(slicer.util.VTKObservationMixin):
    """Base of the sections.

    A section calls the panel for all that others need to know (`Panel.set_volume`, `Panel.start` ...), which in turn
    calls `refresh` of all of them. `addObserver` observes nodes until `cleanup`.

    Parameters
    ----------
    panel
        What the sections share.
    """

    #: The form: ``Resources/UI/<form>.ui``, whose top widget is a ``qMRMLWidget``.
    form = ""
    #: The button of ``CovidBert.ui`` that opens the section.
    button = ""

    def __init__(self, panel: Panel) -> None:
        super().__init__()
        self.panel = panel
        self.widget: Any = None
        self.ui: Any = None
        self.opener: Any = None

    def build(self) -> None:
        """Load the form, put it below the section's button and connect it."""
        self.opener = getattr(self.panel.ui, self.button)
        self.widget = slicer.util.loadUI(self.panel.resource(f"UI/{self.form}.ui"))
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.opener.layout().addWidget(self.widget)
        self.widget.setMRMLScene(slicer.mrmlScene)
        self.opener.setVisible(True)
        self.setup()

    def setup(self) -> None:
        """Connect the widgets, which exist now."""

    def refresh(self) -> None:
        """Set texts and what can be pressed, since the panel's state has changed. Must be cheap."""

    def enter(self) -> None:
        """The module's panel is shown."""

    def exit(self) -> None:
        """Another module's panel is shown."""

    def scene_closed(self) -> None:
        """All nodes are gone; `refresh` follows."""

    def node_removed(self, node: slicer.vtkMRMLNode) -> None:
        """One node has left the scene; `refresh` does not follow."""

    def cleanup(self) -> None:
        """The module goes: forget nodes, stop timers. Extend it where there is more to let go."""
        self.removeObservers()
