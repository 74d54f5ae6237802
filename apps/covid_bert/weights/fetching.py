"""Fetching weights of the registry: download, check, import."""

from __future__ import annotations

from covid_bert.errors import WeightsError
from covid_bert.progress import Progress
from covid_bert.weights.download import download
from covid_bert.weights.files import explained
from covid_bert.weights.importing import import_checkpoint
from covid_bert.weights.location import downloads_root
from covid_bert.weights.registry import RegistryEntry, entry
from covid_bert.weights.store import InstalledWeights, intact_versions


def fetch(name: str, *, progress: Progress | None = None) -> InstalledWeights:
    """Download and install weights of the registry, unless they are installed already.

    Parameters
    ----------
    name
        Of a registry entry.
    progress
        Gets the stages ``download``, ``checksum``, ``read`` and ``install``.

    Raises
    ------
    NotFoundError
        If the registry has no such entry.
    WeightsError
        If the entry has no public address, or the file is not what it should be.
    OfflineError
        If the address cannot be reached.
    CancelledError
        If the user cancelled; what has arrived is kept.
    """
    item = entry(name)
    present = _present(item)
    if present is not None:
        return present
    if item.url is None or item.file_name is None:
        raise WeightsError(
            f"{item.title}: these weights have no public address.",
            f"Ask their authors ({item.source}), then run `covid-bert weights import FILE --name {name}`.",
        )
    with explained("make the folder for downloads"):
        downloads_root().mkdir(parents=True, exist_ok=True)
    file = download(
        item.url,
        downloads_root() / item.file_name,
        sha256=item.known_sha256,
        size=item.bytes,
        progress=progress,
    )
    try:
        weights = import_checkpoint(file, name=name, progress=progress)
    except WeightsError as error:
        # A full disk is not the download's fault, which then serves the next attempt; as after a cancel.
        if not isinstance(error.__cause__, OSError):
            file.unlink(missing_ok=True)
        raise
    file.unlink(missing_ok=True)
    return weights


def _present(item: RegistryEntry) -> InstalledWeights | None:
    """The sound version that was made from the entry's published file."""
    for weights in intact_versions(item.name):
        source = weights.manifest.source_file
        if source is not None and item.matches_sha256(source.sha256):
            return weights
    return None
