"""Files with a patient's voxels do not outlive the program, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_LIBRARY = Path(__file__).resolve().parents[2] / "slicer_extension" / "CovidBert"
# The panel's own module needs Slicer for its sentences only.
_OTHER_SLICER = """
import sys, types
names = types.ModuleType("slicer"), types.ModuleType("slicer.i18n")
names[1].tr = names[1].getContext = str
names[1].translate = lambda context, text: text
sys.modules.update({"slicer": names[0], "slicer.i18n": names[1]})
from pathlib import Path
from CovidBertLib.workplace import Workplace, new_folder
place = Workplace(Path(sys.argv[1]))
(new_folder(place.folder) / "volume.raw").write_bytes(b"voxels")
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="ends a process by a signal")
def test_what_a_crash_left_is_removed_and_what_is_in_use_stays(application: Any, tmp_path: Path) -> None:
    from CovidBertLib.workplace import Workplace, new_folder

    command = [sys.executable, "-c", _OTHER_SLICER, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(_LIBRARY)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as other:
        assert other.stdout.readline() == b"ready\n"
        first = Workplace(tmp_path)
        assert len(list(tmp_path.rglob("volume.raw"))) == 1, "another Slicer still works with it"
        other.send_signal(signal.SIGKILL)
        other.wait(60)
    (tmp_path / "CovidBert-is-being-made").mkdir()
    (tmp_path / "other").mkdir()
    second = Workplace(tmp_path)
    assert list(tmp_path.rglob("volume.raw")) == []
    assert new_folder(first.folder).is_dir(), "what this program holds stays"
    if sys.platform != "win32":
        assert second.folder.parent.stat().st_mode & 0o777 == 0o700
    first.remove()
    second.remove()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir() and path.name != "slicer") == [
        "CovidBert-is-being-made",
        "other",
    ]


def test_a_link_is_not_followed(application: Any, tmp_path: Path) -> None:
    from CovidBertLib.workplace import remove_left_folders

    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / ".in-use").write_bytes(b"")
    (tmp_path / "CovidBert-link").symlink_to(kept)
    remove_left_folders(tmp_path)
    assert (kept / ".in-use").exists()
