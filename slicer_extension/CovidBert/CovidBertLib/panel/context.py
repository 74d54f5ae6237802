"""What the sections of the panel share: server, volume, result, tasks, messages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer

from .. import scene
from ..consent import Consent, host_of
from ..i18n import tr as _
from ..problems import CovidBertError
from ..process import Failure, Progress, Task, Tasks
from ..secrets import TokenStore
from ..settings import Settings
from ..workplace import Workplace, new_folder
from .jobs import Jobs
from .messages import Messages
from .uploads import Uploads

if TYPE_CHECKING:
    from ..result import Result
    from .section import Section

# Orders by which a volume, a mask or a study label leaves this computer.
_SENDING = {"classify", "submit", "study_label_put"}
# After these the connection is not what it was: the user has to test it again.
_DISCONNECTING = {"token-missing", "token-refused", "wrong-server", "version-mismatch", "certificate-not-trusted"}
_VOLUME, _MODEL = "Volume", "Model"


class Panel:
    """State of the panel; lives in the GUI thread.

    Parameters
    ----------
    resource
        Returns the path of a file below ``Resources``.
    parameter_node
        Returns the module's node in the scene, which keeps what is chosen.
    """

    def __init__(self, resource: Callable[[str], str], parameter_node: Callable[[], Any]) -> None:
        self.resource = resource
        self._parameter_node = parameter_node
        self.widget = slicer.util.loadUI(resource("UI/CovidBert.ui"))
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.messages = Messages(self.ui)
        self.settings = Settings()
        self.tokens = TokenStore()
        self.consent = Consent(self.settings)
        self.tasks = Tasks(on_line=self.messages.failure)
        self._workplace = Workplace(Path(slicer.app.temporaryPath))
        #: Private folder for the folders of the orders.
        self.work = self._workplace.folder
        #: ``order["server"]`` of the connection that was tested, None while there is none.
        self.server: dict[str, Any] | None = None
        #: What the server offers: result of the order ``check``, {} while there is no connection.
        self.offer: dict[str, Any] = {}
        self.volume: slicer.vtkMRMLScalarVolumeNode | None = None
        self.shown: scene.Shown | None = None
        self.shown_result: Result | None = None
        self.uploads = Uploads(self)
        self.jobs = Jobs(self)
        self.sections: list[Section] = []
        self._is_closed = False

    # ------------------------------------------------------------------ life

    def build(self, classes: Iterable[type[Section]]) -> None:
        """Make the sections, in their order."""
        self.sections = [section(self) for section in classes]
        for section in self.sections:
            section.build()
        self.restore()

    def refresh(self) -> None:
        """Let all sections show the state as it is."""
        for section in self.sections:
            section.refresh()

    def section(self, form: str) -> Section:
        """Return a section by the name of its form."""
        return next(section for section in self.sections if section.form == form)

    def cleanup(self) -> None:
        """The module goes: end tasks, let nodes go, remove files."""
        self._is_closed = True
        self.jobs.drop()
        self.uploads.cleanup()
        self.tasks.close()
        for section in self.sections:
            section.cleanup()
        self._workplace.remove()

    # ----------------------------------------------------------------- state

    def set_server(self, server: dict[str, Any] | None, offer: dict[str, Any] | None = None) -> None:
        """Note the server in use and what it offers, or that there is none."""
        if server is None or self.server is None or server["url"] != self.server["url"]:
            self.uploads.clear()
        self.server, self.offer = server, (offer or {}) if server is not None else {}
        self.refresh()

    def is_connected_to(self, url: str) -> bool:
        """Return whether the server in use is that of an address: what was asked of another is not about it."""
        return self.server is not None and self.server["url"] == url

    def set_volume(self, volume: slicer.vtkMRMLScalarVolumeNode | None) -> None:
        """Choose a volume, and with it the newest of its results in the scene."""
        self.volume = volume
        node = self._parameter_node()
        if volume is None or node.GetNodeReference(_VOLUME) is not volume:
            node.SetNodeReferenceID(_VOLUME, None if volume is None else volume.GetID())
        self.set_shown(self._newest())

    def set_shown(self, shown: scene.Shown | None) -> None:
        """Choose the result that the sections show."""
        self.shown, self.shown_result = shown, None
        if shown is not None:
            try:
                self.shown_result = shown.result()
            except CovidBertError as problem:
                self.shown = None
                self.messages.problem(problem)
        self.refresh()

    @property
    def model(self) -> str:
        """The model chosen for this scene, "" for none."""
        return str(self._parameter_node().GetParameter(_MODEL) or "")

    @model.setter
    def model(self, name: str) -> None:
        self._parameter_node().SetParameter(_MODEL, name)

    # ---------------------------------------------------------------- orders

    def new_folder(self) -> Path:
        """Make a private folder for one order; `start` removes it at the order's end."""
        return new_folder(self.work)

    def start(
        self,
        order: dict[str, Any],
        *,
        done: Callable[[dict[str, Any]], None],
        progress: Callable[[Progress], None] | None = None,
        failed: Callable[[Failure], None] | None = None,
        cancelled: Callable[[], None] | None = None,
        ended: Callable[[], None] | None = None,
        quiet: bool = False,
    ) -> Task:
        """Start an order at the server in use. A `CovidBertError` that a callback raises is shown.

        Parameters
        ----------
        order
            ``kind`` and its fields. ``server`` is added, and ``folder`` where it is not there (see `new_folder`).
        done, progress, cancelled
            As in `Tasks.start`.
        failed
            Called after the failure was shown.
        ended
            Called at last, when the order's folder has been removed.
        quiet
            Whether failures are left for ``failed`` to show.

        Returns
        -------
        The task.

        Raises
        ------
        CovidBertError
            If there is no connection, no folder can be made, or the user did not agree to what would be sent.
        """
        server = order.get("server", self.server)
        if server is None:
            raise CovidBertError(_("There is no connection to a server."), _("Press Test in the section Server first."))
        if order["kind"] in _SENDING and not self.consent.given(server["url"]):
            # Whoever calls has asked; the server may have been changed since.
            raise CovidBertError(
                _("Nothing was sent to {host}: you have not agreed to that.").format(host=host_of(server["url"])),
                _("Press the button again: you are asked first."),
                "no-consent",
            )
        folder = Path(order["folder"]) if "folder" in order else self.new_folder()

        def fail(failure: Failure) -> None:
            if not quiet:
                self.messages.failure(failure)
            if failed is not None:
                failed(failure)
            if failure.code in _DISCONNECTING and server is self.server:
                self.set_server(None)

        def end() -> None:
            shutil.rmtree(folder, ignore_errors=True)
            if ended is not None:
                ended()

        return self.tasks.start(
            {**order, "server": server, "folder": str(folder)},
            done=self.guarded(done),
            failed=self.guarded(fail),
            cancelled=None if cancelled is None else self.guarded(cancelled),
            progress=progress,
            ended=self.guarded(end),
        )

    def guarded(self, function: Callable[..., None]) -> Callable[..., None]:
        """Return a function that shows a `CovidBertError` of another, in the place of raising it."""

        def call(*arguments: Any) -> None:
            try:
                function(*arguments)
            except CovidBertError as problem:
                self.messages.problem(problem)

        return call

    def may_upload(self, then: Callable[[], None]) -> None:
        """Call ``then`` if volumes may be sent to the server in use, after asking where that is not known."""
        if self.server is None:
            self.messages.error(_("There is no connection to a server."), _("Press Test in the section Server first."))
            return
        url = self.server["url"]
        then = self.guarded(then)
        if self.consent.given(url):
            then()
            return

        def agree() -> None:
            self.consent.give(url)
            self.refresh()
            if self.is_connected_to(url):
                then()
            else:
                self.messages.attention(_("The server was changed: nothing was sent."), _("Press the button again."))

        self.messages.ask(
            _(
                "May images be sent to {host}? Voxels and their geometry are sent, later also masks and study labels "
                "that you submit. Names, dates and other patient data are not sent."
            ).format(host=host_of(url)),
            _("Send to {host}").format(host=host_of(url)),
            _("Do not send"),
            agree,
            lambda: self.messages.attention(_("Nothing was sent.")),
        )

    # ----------------------------------------------------------------- scene

    def restore(self) -> None:
        """Take up what the scene says was chosen: at the start, and when a scene was loaded."""
        self.set_volume(self._parameter_node().GetNodeReference(_VOLUME))

    def scene_closing(self) -> None:
        """The scene is about to be emptied: what runs is no longer wanted."""
        count = self.jobs.drop()
        self.tasks.cancel_all()
        self.messages.withdraw()
        if count:
            self.messages.attention(_("The scene was closed: the classification was cancelled."))

    def scene_closed(self) -> None:
        """The scene is empty."""
        self.uploads.clear()
        self.volume = self.shown = self.shown_result = None
        for section in self.sections:
            section.scene_closed()
        self.refresh()

    def node_removed(self, node: slicer.vtkMRMLNode) -> None:
        """One node has left the scene."""
        identifier = node.GetID() or ""
        self.uploads.forget(identifier)
        if self.jobs.drop(identifier):
            self.messages.attention(
                _("{name} was removed from the scene: its classification was cancelled.").format(name=node.GetName())
            )
        for section in self.sections:
            section.node_removed(node)
        if node is self.volume:
            self.set_volume(None)
        elif self.shown is not None and node in _nodes(self.shown):
            self.set_shown(self._newest())
        else:
            self.refresh()

    def _newest(self) -> scene.Shown | None:
        return next(iter([] if self.volume is None else scene.find(self.volume)), None)


def _nodes(shown: scene.Shown) -> tuple[Any, ...]:
    return shown.record, shown.lungs, shown.lesions, shown.location
