"""Fixtures: a fresh Slicer for each test, and hands and eyes for its panel."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import slicer

import standin

SLICER_APPLICATION = standin.install()
MODULE_FILE = Path(__file__).resolve().parents[2] / "slicer_extension" / "CovidBert" / "CovidBert.py"


def spin(seconds: float = 0.0) -> None:
    """Let Qt's event loop run once, or for some seconds."""
    end = time.monotonic() + seconds
    while True:
        SLICER_APPLICATION.processEvents()
        SLICER_APPLICATION.sendPostedEvents(None, 52)  # QEvent::DeferredDelete: what deleteLater() asked for
        if time.monotonic() >= end:
            return
        time.sleep(0.005)


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """``wait_until(condition, seconds=30)``: spin Qt's event loop until the condition holds; fail after that time."""

    def wait(condition: Callable[[], Any], seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                pytest.fail(f"the condition did not become true within {seconds} s")
            spin()
            time.sleep(0.002)
        spin()

    return wait


@pytest.fixture
def press() -> Callable[[Any], None]:
    """``press(button)``: click with the mouse as a person would; a hidden or disabled button is a failure."""

    def click(button: Any) -> None:
        assert button.isVisible(), f"{button.objectName} cannot be seen"
        assert button.isEnabled(), f"{button.objectName} is disabled"
        button.click()
        spin()

    return click


@pytest.fixture
def screenshot() -> Callable[[Any, Path], Path]:
    """``screenshot(widget, path)``: write the widget as it looks now."""

    def grab(widget: Any, path: Path) -> Path:
        spin()
        path.parent.mkdir(parents=True, exist_ok=True)
        assert widget.grab().save(str(path))
        return path

    return grab


@pytest.fixture
def slot_errors(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BaseException]]:
    """Errors raised in slots so far; what is left in the list at the end fails the test."""
    errors: list[BaseException] = []
    real = sys.excepthook

    def note(kind: Any, error: Any, trace: Any) -> None:
        errors.append(error)
        real(kind, error, trace)

    monkeypatch.setattr(sys, "excepthook", note)
    yield errors
    assert not errors, f"errors in slots: {errors}"


@pytest.fixture
def application(tmp_path: Path, slot_errors: list[BaseException]) -> Iterator[Any]:
    """``slicer.app`` with a new scene, views, settings file and temporary folder; an error in a slot fails the test."""
    SLICER_APPLICATION.open_world(tmp_path / "slicer")
    yield SLICER_APPLICATION
    SLICER_APPLICATION.aboutToQuit.disconnect()
    spin()
    SLICER_APPLICATION.close_world()


@pytest.fixture
def scene(application: Any) -> Any:
    """A new MRML scene with the real logics, which is ``slicer.mrmlScene``."""
    return slicer.mrmlScene


@pytest.fixture
def module_widget(application: Any) -> Iterator[Any]:
    """The panel of the extension, loaded from its file as Slicer does and shown."""
    from standin import loading

    loading.load_module(MODULE_FILE)
    widget = loading.build_widget(MODULE_FILE.stem)
    spin()
    yield widget
    loading.unload_module(MODULE_FILE.stem)
    spin()


@pytest.fixture
def render_slice(application: Any) -> Callable[[str, Path], Path]:
    """``render_slice("Red", path)``: write a slice view as PNG, drawn by Slicer's displayable managers."""
    from standin.views import write_png

    return lambda name, path: write_png(application.layoutManager().sliceWidget(name).sliceView().renderWindow(), path)


@pytest.fixture
def render_3d(application: Any) -> Callable[[Path], Path]:
    """``render_3d(path)``: write the 3-D view as PNG, drawn by Slicer's displayable managers."""
    from standin.views import write_png

    def render(path: Path) -> Path:
        view = application.layoutManager().threeDWidget(0).threeDView()
        view.resetFocalPoint()
        return write_png(view.renderWindow(), path)

    return render
