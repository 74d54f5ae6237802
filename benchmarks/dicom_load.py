"""Studies pushed at once to `covid-bert route`: is each answered, none twice, in how much memory and how many seconds.

    python benchmarks/dicom_load.py [--studies 200]

Made studies go by dcmtk's storescu to a real router with the shipped weights, and its results by C-STORE or DICOMweb to
a real Orthanc. One more study goes alone before the others. Exit status 1 if one study has not exactly one result.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from covid_bert.phantom import make
from covid_bert.phantom.writer import write_dicom
from covid_bert.router.queue_list import QueuedStudy, QueueList, State
from orthanc_server import free_port, running_orthanc
from server.measuring import nearest_rank

_PEOPLE = 8
_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 4 * 3600.0
_ENDS = (State.DONE, State.ASIDE)
# Of each study: from, to.
_STAGES = {
    "quiet period": ("last", "ready"),
    "waiting for its turn": ("ready", "begun"),
    "classifying": ("begun", "classified"),
    "storing": ("classified", "ended"),
    "last slice to SR in the archive": ("last", "ended"),
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--studies", type=int, default=200)
    options.add_argument("--slices", type=int, default=48)
    options.add_argument("--side", type=int, default=128, help="rows and columns")
    options.add_argument("--senders", type=int, default=8, help="associations at a time")
    options.add_argument("--quiet-seconds", type=float, default=5.0)
    options.add_argument("--destination", choices=["dicom", "dicomweb"], default="dicom")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        studies = make_studies(folder / "made", chosen.studies + 1, (chosen.slices, chosen.side, chosen.side))
        (folder / "orthanc").mkdir()
        port = free_port()
        settings = {"DicomServerEnabled": True, "DicomPort": port, "DicomAet": "ARCHIVE"}
        with running_orthanc(folder / "orthanc", **settings) as address:
            router = Router(folder, chosen.quiet_seconds, destination(chosen.destination, address, port))
            try:
                alone = router.route(studies[:1], senders=1)
                together = router.route(studies[1:], senders=chosen.senders)
            finally:
                router.stop()
            report("one study alone", alone)
            report(f"{chosen.studies} studies at once", together)
            print(
                f"memory at its highest: router {router.peaks[0]} MB, its process for computations {router.peaks[1]} MB"
            )
            sys.exit(0 if whole(address, [*alone, *together], router.log) else 1)


def make_studies(folder: Path, count: int, shape: tuple[int, int, int]) -> list[Path]:
    """Write studies of some synthetic people, each as another patient."""
    spacing = (320.0 / shape[0], 340.0 / shape[1], 340.0 / shape[2])
    people = [make(shape=shape, spacing=spacing, seed=seed) for seed in range(min(_PEOPLE, count))]
    folders = [folder / f"{number:04d}" for number in range(count)]
    for number, target in enumerate(folders):
        write_dicom(people[number % len(people)], target, patient_id=f"LOAD{number}")
    return folders


def destination(kind: str, address: str, port: int) -> str:
    if kind == "dicomweb":
        return f'kind = "dicomweb"\nurl = "{address}/dicom-web"'
    return f'kind = "dicom"\nhost = "127.0.0.1"\nport = {port}\nae_title = "ARCHIVE"'


class Router:
    """A router that has been started.

    Parameters
    ----------
    folder
        For all that it has.
    quiet_seconds, destination
        Of its set-up, the latter as lines of TOML.
    """

    def __init__(self, folder: Path, quiet_seconds: float, destination: str) -> None:
        self._port, self._spool, self.log = free_port(), folder / "spool", folder / "log"
        configuration = folder / "route.toml"
        configuration.write_text(
            f'spool = "{self._spool}"\nquiet_seconds = {quiet_seconds}\nreserve_megabytes = 512\nlog_format = "json"\n'
            f"[receiver]\nport = {self._port}\nassociations = 50\nobject_megabytes = 64\n"
            '[[receiver.peers]]\nae_title = "PACS"\naddress = "127.0.0.1"\n'
            f"[destination]\n{destination}\n"
        )
        command = [sys.executable, "-m", "covid_bert.cli", "route", "run", "--configuration", str(configuration)]
        with self.log.open("w") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError(self.log.read_text())
        self._queue = QueueList(self._spool)
        # Megabytes of the router and of its process for computations.
        self.peaks = (0, 0)
        self._ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def route(self, studies: Sequence[Path], *, senders: int) -> list[QueuedStudy]:
        """Push studies, wait until each has ended, and return them."""
        before = {study.key for study in self._queue.studies()}
        with ThreadPoolExecutor(senders) as pool:
            list(pool.map(self._push, studies))
        end = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < end:
            found = [study for study in self._queue.studies() if study.key not in before]
            if len(found) == len(studies) and all(study.state in _ENDS for study in found):
                return found
            time.sleep(_POLL_SECONDS)
        raise RuntimeError(f"Not all studies have ended: {self._queue.counts()}")

    def stop(self) -> None:
        """Stop it in order."""
        self._ended.set()
        self._process.terminate()
        self._process.wait(120)

    def _push(self, study: Path) -> None:
        program = shutil.which("storescu", path="/usr/bin:/usr/local/bin")
        if program is None:
            raise RuntimeError("apt-get install dcmtk")
        names = ["-aet", "PACS", "-aec", "COVIDBERT", "127.0.0.1", str(self._port)]
        # dcmtk looks up names of hosts, and writes to the terminal.
        subprocess.run([program, "-q", *names, "+sd", str(study)], check=True, env={**os.environ, "LANG": "C"})

    def _watch(self) -> None:
        while not self._ended.wait(_POLL_SECONDS):
            try:
                main_process = psutil.Process(self._process.pid)
                children = [_highest(child) for child in main_process.children(recursive=True)]
                self.peaks = (
                    max(self.peaks[0], _highest(main_process)),
                    max([self.peaks[1], *children]),
                )
            except (psutil.Error, OSError):
                continue


def _highest(process: psutil.Process) -> int:
    """Megabytes of memory that a process had at its highest."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def report(title: str, studies: Sequence[QueuedStudy]) -> None:
    print(f"{title}: {Counter(study.state.value for study in studies)}")
    done = [study.to_json() for study in studies if study.state is State.DONE]
    for stage, (start, end) in _STAGES.items():
        seconds = [study[end] - study[start] for study in done]
        print(f"  {stage:<34} median {nearest_rank(seconds, 50):8.2f} s   95 % {nearest_rank(seconds, 95):8.2f} s")


def whole(address: str, studies: Sequence[QueuedStudy], log: Path) -> bool:
    """Say whether each study has one SR in the archive, and was classified once."""
    reports: Counter[str] = Counter()
    for series in _asked(f"{address}/series?expand"):
        if series["MainDicomTags"]["Modality"] == "SR":
            reports[series["ParentStudy"]] += len(series["Instances"])
    lines = [json.loads(line)["message"] for line in log.read_text().splitlines()]
    begun = Counter(line.split(":")[0] for line in lines if ": classifying " in line)
    twice = sum(count > 1 for count in (*reports.values(), *begun.values()))
    print(f"archive: {len(reports)} studies with an SR of {len(studies)} that were pushed; {twice} twice")
    return len(reports) == len(begun) == len(studies) and not twice


def _asked(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=600) as reply:
        return json.load(reply)


if __name__ == "__main__":
    main()
