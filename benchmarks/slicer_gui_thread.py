"""The longest time that the Slicer extension holds the window's thread while a large volume is worked on.

    python benchmarks/slicer_gui_thread.py [--sizes 512 512 600] [--rounds 3]

The buttons of the real panel are pressed in a Qt event loop, on 3D Slicer's own libraries and the stand-in of
``tests/slicer``. A timer that is due at every millisecond notes how long it was kept waiting: so long the window does
not draw, and does not hear the mouse. What would go to a server (``classify``, ``submit``) is not sent; all else is
done. The volume is of int16, with two ellipsoids as lungs; the correction lacks some slices of the right one. Showing
the result with its lungs is timed once, as one turn.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_TESTS = Path(__file__).resolve().parents[1] / "tests" / "slicer"
_TO_SERVER = ("classify", "submit")
_SPACING = (0.7, 0.7, 0.6)
_LONGEST_SECONDS = 300.0
_AFTER_SECONDS = 0.5
_PAUSE_SECONDS = 0.001
_RIGHT = "CovidBert_right_lung"


class Watch:
    """Notes the longest time between two turns of the event loop, and how much of a processor this thread took.

    The second counts when other programs run beside: these also make the window wait.
    """

    def __init__(self, qt: Any) -> None:
        self._timer = qt.QTimer()
        self._timer.setInterval(1)
        self._timer.connect("timeout()", self._tick)
        self._last = self.longest = 0.0
        self._last_own = self.longest_own = 0.0

    def start(self) -> None:
        """Begin to watch."""
        self.longest, self._last = 0.0, time.perf_counter()
        self.longest_own, self._last_own = 0.0, time.thread_time()
        self._timer.start()

    def stop(self) -> tuple[float, float]:
        """Return the longest time, and the most time on a processor, in seconds."""
        self._tick()
        self._timer.stop()
        return self.longest, self.longest_own

    def _tick(self) -> None:
        now = time.perf_counter()
        self.longest, self._last = max(self.longest, now - self._last), now
        own = time.thread_time()
        self.longest_own, self._last_own = max(self.longest_own, own - self._last_own), own


class NotSent:
    """An order that is kept from the server; the panel takes it for one on its way."""

    running = True

    def __init__(self, callbacks: dict[str, Any]) -> None:
        self.kept: dict[str, Any] = {}
        self._callbacks = callbacks

    def cancel(self) -> None:
        """Say that it is cancelled, and that its process is gone."""
        if self.running:
            self.running = False
            self._callbacks["cancelled"]()
            self._callbacks["ended"]()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--sizes", type=int, nargs=3, default=[512, 512, 600], help="voxels along i, j and k")
    parser.add_argument("--rounds", type=int, default=3, help="how often each button is pressed")
    arguments = parser.parse_args()
    sys.path.insert(0, str(_TESTS))
    importlib.import_module("conftest")  # puts Slicer and its stand-in in place
    from slicer_fixtures import MODULE_FILE, SLICER_APPLICATION, spin

    from standin import loading

    with tempfile.TemporaryDirectory() as folder:
        SLICER_APPLICATION.open_world(Path(folder) / "slicer")
        loading.load_module(MODULE_FILE)
        panel = loading.build_widget(MODULE_FILE.stem).panel
        sizes = tuple(arguments.sizes)
        print(f"{sizes[0]} x {sizes[1]} x {sizes[2]}, {arguments.rounds} rounds, seconds")
        print(f"  {'button':<16}{'longest hold':>14}{'on a processor':>16}{'until it was done':>20}", flush=True)
        measure(panel, SLICER_APPLICATION, Path(folder), sizes, arguments.rounds)
        loading.unload_module(MODULE_FILE.stem)
        spin()
        SLICER_APPLICATION.aboutToQuit.disconnect()
        spin()
        SLICER_APPLICATION.close_world()


def measure(panel: Any, application: Any, folder: Path, sizes: tuple[int, ...], rounds: int) -> None:
    import qt
    from fake_orders import connect, offer_of

    started: list[NotSent] = []
    start = panel.tasks.start

    def keep(order: dict[str, Any], **callbacks: Any) -> Any:
        if order["kind"] in _TO_SERVER:
            started.append(NotSent(callbacks))
            return started[-1]
        return start(order, **callbacks)

    panel.tasks.start = keep
    watch = Watch(qt)
    shown = add_study(panel, folder, sizes)
    print(f"  {'Show a result':<16}{shown[0]:>14.2f}{shown[1]:>16.2f}{shown[0]:>20.2f}", flush=True)
    connect(panel, offer_of())
    correct, classify = panel.section("Correct"), panel.section("Classify")

    def turn() -> None:
        application.processEvents()
        time.sleep(_PAUSE_SECONDS)  # the process beside the window needs the processor

    def press(name: str, button: Callable[[], None], is_done: Callable[[], bool], tidy: Callable[[], None]) -> None:
        holds, waits = [], []
        for _round in range(rounds):
            started.clear()
            began = time.perf_counter()
            watch.start()
            button()
            while not is_done():
                turn()
                if time.perf_counter() - began > _LONGEST_SECONDS:
                    sys.exit(f"{name} did not end: {panel.messages.text}")
            waits.append(time.perf_counter() - began)
            while time.perf_counter() - began < waits[-1] + _AFTER_SECONDS:
                turn()
            holds.append(watch.stop())
            tidy()
        held, own = zip(*holds, strict=True)
        print(f"  {name:<16}{max(held):>14.2f}{max(own):>16.2f}{max(waits):>20.2f}", flush=True)

    def cancel() -> None:
        for order in started:
            order.cancel()

    press(
        "Compare",
        correct.ui.compareButton.click,
        lambda: not correct.ui.comparisonTable.isHidden(),
        lambda: correct.ui.comparisonTable.setVisible(False),
    )
    press("Submit mask", correct.ui.submitButton.click, lambda: bool(started), cancel)
    press("Classify", classify.ui.classifyButton.click, lambda: bool(started), cancel)


def add_study(panel: Any, folder: Path, sizes: tuple[int, ...]) -> tuple[float, float]:
    """Add a volume with its automatic lungs and a correction of them; return how long showing the lungs held."""
    import slicer
    from mrml_samples import add_volume, write_nrrd
    from result_samples import calibrated

    from CovidBertLib import result, scene

    affine = np.diag([-_SPACING[0], -_SPACING[1], _SPACING[2], 1.0])
    lungs = np.zeros(sizes[::-1], np.uint8)
    along = [np.linspace(-1, 1, size, dtype=np.float32) for size in sizes]
    for label, middle in ((1, -0.4), (2, 0.4)):
        across = ((along[0] - middle) / 0.33) ** 2
        deep, high = (along[1] / 0.6) ** 2, (along[2] / 0.9) ** 2
        lungs[across + deep[:, None] + high[:, None, None] < 1] = label
    values = np.random.default_rng(1).integers(-1000, 400, sizes[::-1], dtype=np.int16)
    volume = add_volume(affine, values)
    path = write_nrrd(folder / "lungs.nrrd", lungs, affine)
    document = calibrated()
    document["study"].update(slices=sizes[2], rows=sizes[1], columns=sizes[0], spacing_mm=list(_SPACING[::-1]))
    began, own = time.perf_counter(), time.thread_time()
    scene.show(volume, result.parse(document), {"lungs": path})
    held = time.perf_counter() - began, time.thread_time() - own
    path.unlink()
    panel.set_volume(volume)
    correct = panel.section("Correct")
    correct.opener.collapsed = False
    correct.ui.startButton.click()
    right = slicer.util.arrayFromSegmentBinaryLabelmap(correct.corrected, _RIGHT, volume).copy()
    right[sizes[2] // 2 : sizes[2] // 2 + max(1, sizes[2] // 50)] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(right, correct.corrected, _RIGHT, volume)
    return held


if __name__ == "__main__":
    main()
