"""Section "Server": which one, and whether it can be used."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import qt

from ..consent import host_of
from ..i18n import tr as _
from ..settings import Server
from .section import Section

if TYPE_CHECKING:
    from ..process import Failure, Task
    from .context import Panel


class Connect(Section):
    """Server list, token, CA file and Test."""

    form = "Connect"
    button = "connectSection"

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._servers: list[Server] = []
        self._task: Task | None = None
        self._is_filling = False

    def setup(self) -> None:
        """Fill in what was set before, and connect the widgets."""
        ui = self.ui
        ui.tokenEdit.echoMode = qt.QLineEdit.Password
        self._servers = self.panel.settings.servers()
        names = [server.name for server in self._servers]
        last = self.panel.settings.last_server()
        self._list_servers(names.index(last) if last in names else 0)
        ui.serverComboBox.connect("currentIndexChanged(int)", self._choose)
        ui.addServerButton.connect("clicked()", self._add)
        ui.removeServerButton.connect("clicked()", self._remove)
        ui.nameEdit.connect("editingFinished()", self._store)
        ui.addressEdit.connect("editingFinished()", self._store)
        ui.tokenEdit.connect("textEdited(QString)", self._forget_connection)
        ui.tokenEdit.connect("editingFinished()", self._store_token)
        ui.showTokenButton.connect("toggled(bool)", self._show_token)
        ui.caFileEdit.connect("currentPathChanged(QString)", self._store)
        ui.insecureCheckBox.connect("toggled(bool)", self._store)
        ui.testButton.connect("clicked()", self.panel.guarded(self._test_or_cancel))
        ui.withdrawButton.connect("clicked()", self._withdraw)

    def refresh(self) -> None:
        """Say whether there is a connection and whether volumes may be sent."""
        ui, panel = self.ui, self.panel
        is_testing = self._task is not None
        for name in ("serverComboBox", "addServerButton", "removeServerButton", "fieldsWidget"):
            getattr(ui, name).setEnabled(not is_testing)
        ui.removeServerButton.setEnabled(not is_testing and len(self._servers) > 1)
        ui.testButton.text = _("Cancel test") if is_testing else _("Test connection")
        if is_testing:
            ui.stateLabel.text = _("Testing the connection…")
        elif panel.server is None:
            ui.stateLabel.text = _("Not connected.")
        else:
            ui.stateLabel.text = _connected_text(panel.offer)
        self.opener.text = (
            _("Server") if panel.server is None else _("Server: {name}").format(name=self._current().name)
        )
        url = self._current().url
        has_consent = panel.consent.given(url)
        ui.withdrawButton.setVisible(has_consent)
        ui.consentLabel.text = (
            _("Images may be sent to {host}.").format(host=host_of(url))
            if has_consent
            else _("You are asked before the first image is sent.")
        )
        if panel.server is None and not is_testing:
            self.opener.collapsed = False

    def cleanup(self) -> None:
        """Forget the token on show."""
        self._is_filling = True
        self.ui.tokenEdit.text = ""
        super().cleanup()

    # ------------------------------------------------------------------ list

    def _current(self) -> Server:
        return self._servers[max(0, self.ui.serverComboBox.currentIndex)]

    def _list_servers(self, index: int) -> None:
        self._is_filling = True
        self.ui.serverComboBox.clear()
        for server in self._servers:
            self.ui.serverComboBox.addItem(server.name)
        self.ui.serverComboBox.setCurrentIndex(index)
        self._is_filling = False
        self._fill()

    def _fill(self) -> None:
        server, ui = self._current(), self.ui
        self._is_filling = True
        ui.nameEdit.text = server.name
        ui.addressEdit.text = server.url
        ui.tokenEdit.text = self.panel.tokens.token(server.url)
        ui.caFileEdit.currentPath = server.ca_file
        ui.insecureCheckBox.checked = server.insecure
        self._is_filling = False

    def _choose(self, _index: int) -> None:
        if self._is_filling:
            return
        self._fill()
        self.panel.settings.save_last_server(self._current().name)
        self._forget_connection()

    def _add(self) -> None:
        self._servers.append(Server(self._free_name(_("New server")), "https://"))
        self._list_servers(len(self._servers) - 1)
        self._save()
        self._forget_connection()
        self.ui.addressEdit.setFocus()

    def _remove(self) -> None:
        server = self._current()
        if len(self._servers) == 1:
            return
        self._servers.remove(server)
        if all(other.url != server.url for other in self._servers):
            self.panel.consent.withdraw(server.url)
            self.panel.guarded(self.panel.tokens.save)(server.url, "")
        self._list_servers(0)
        self._save()
        self._forget_connection()
        self.panel.messages.good(_("{name} was removed, with its token.").format(name=server.name))

    def _free_name(self, wanted: str, but: Server | None = None) -> str:
        taken = {server.name for server in self._servers if server is not but}
        name, number = wanted, 2
        while name in taken:
            name, number = f"{wanted} {number}", number + 1
        return name

    # ---------------------------------------------------------------- fields

    def _store(self, *_arguments: Any) -> None:
        """Keep what the fields say; nothing is kept while they are being filled."""
        if self._is_filling:
            return
        ui, old = self.ui, self._current()
        name = self._free_name(ui.nameEdit.text.strip() or old.name, old)
        address = ui.addressEdit.text.strip().rstrip("/")
        new = Server(name, address or old.url, ui.caFileEdit.currentPath.strip(), ui.insecureCheckBox.isChecked())
        if new == old:
            return
        index = self._servers.index(old)
        self._servers[index] = new
        self._save()
        if new.name != old.name:
            ui.serverComboBox.setItemText(index, new.name)
        if new.url != old.url:
            # Whichever field was left first: the token of one server is never sent to another.
            ui.tokenEdit.text = self.panel.tokens.token(new.url)
        if replace(new, name=old.name) != old:
            self._forget_connection()
        else:
            self.panel.refresh()

    def _store_token(self) -> None:
        if not self._is_filling:
            # An address that was typed meanwhile takes the token away before it could be kept for it.
            self._store()
            self.panel.guarded(self.panel.tokens.save)(self._current().url, self.ui.tokenEdit.text.strip())

    def _show_token(self, shown: bool) -> None:
        self.ui.tokenEdit.echoMode = qt.QLineEdit.Normal if shown else qt.QLineEdit.Password

    def _save(self) -> None:
        self.panel.settings.save_servers(self._servers)
        self.panel.settings.save_last_server(self._current().name)

    def _forget_connection(self, *_arguments: Any) -> None:
        """What is set is no longer what was tested."""
        if not self._is_filling:
            self.panel.set_server(None)

    # ------------------------------------------------------------------ test

    def _test_or_cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            return
        # Not every system takes the focus from a field when a button is pressed, by which it would be stored.
        self._store_token()
        entry = self._current()
        server = {
            "url": entry.url,
            "token": self.ui.tokenEdit.text.strip() or None,
            "ca_file": entry.ca_file or None,
            "insecure_network": entry.insecure,
        }
        self.panel.messages.clear()
        self.panel.set_server(None)
        self._task = self.panel.start(
            {"kind": "check", "server": server},
            done=lambda offer: self._tested(server, offer),
            failed=self._failed,
            cancelled=self._ended,
        )
        self.panel.refresh()

    def _tested(self, server: dict[str, Any], offer: dict[str, Any]) -> None:
        self._task = None
        self.panel.set_server(server, offer)
        if offer["ready"]:
            self.opener.collapsed = True
            self.panel.messages.good(_connected_text(offer))
        else:
            reason = offer["reason"] or _("It says no reason.")
            self.panel.messages.attention(
                _("Connected, but the server cannot compute now: {reason}").format(reason=reason), offer["hint"]
            )

    def _failed(self, failure: Failure) -> None:
        self._ended()
        if failure.code in ("token-missing", "token-refused"):
            self.ui.tokenEdit.setFocus()

    def _ended(self) -> None:
        self._task = None
        self.panel.refresh()

    def _withdraw(self) -> None:
        url = self._current().url
        self.panel.consent.withdraw(url)
        self.panel.messages.good(
            _("You are asked again before the next image is sent to {host}.").format(host=host_of(url))
        )
        self.panel.refresh()


def _connected_text(offer: dict[str, Any]) -> str:
    """Return who is connected to what."""
    roles = [str(role) for role in offer.get("roles", [])]
    text = _("Connected to covid-bert {version} as {user}").format(
        version=offer.get("version", ""), user=offer.get("user") or _("unknown")
    )
    return f"{text} ({', '.join(roles)})." if roles else f"{text}."
