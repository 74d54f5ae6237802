"""Reference studies of the classifiers: phantoms with planted lesions from fixed seeds, which no label can change."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace

from covid_bert.lungs.mask import LungMask
from covid_bert.phantom import make
from covid_bert.retraining import distributed
from covid_bert.retraining.channel_cache import ChannelCache, SeenChannels
from covid_bert.retraining.progress import RunProgress
from covid_bert.synthesis import SyntheticStudy, synthesize
from covid_bert.training.studies import COVID, FINDING_PATTERN, OTHER
from covid_bert.volumes import Volume


@dataclass(frozen=True)
class Reference:
    """One generated person with a planted pattern.

    Parameters
    ----------
    seed
        Of anatomy and lesions; nothing was trained on these persons.
    pattern
        A key of `covid_bert.synthesis.PATTERNS`.
    severity
        Of the lesions.
    shape, spacing
        Of the grid: (slices, rows, columns), and mm along them.
    """

    seed: int
    pattern: str
    severity: float
    shape: tuple[int, int, int] = (70, 120, 130)
    spacing: tuple[float, float, float] = (4.0, 2.7, 2.7)

    @property
    def label(self) -> int:
        """Index into `CLASS_NAMES`."""
        return COVID if self.pattern == FINDING_PATTERN else OTHER

    @property
    def digest(self) -> str:
        """Identity of the study."""
        return hashlib.sha256(repr(asdict(self)).encode()).hexdigest()

    def make(self) -> SyntheticStudy:
        """Draw the person and plant the lesions; the same every time."""
        person = make(shape=self.shape, spacing=self.spacing, seed=self.seed)
        return synthesize(person.volume, person.lungs, pattern=self.pattern, severity=self.severity, seed=self.seed)


_PATTERNS = (FINDING_PATTERN, "none", FINDING_PATTERN, "bacterial-like", FINDING_PATTERN, "bronchopneumonia")
REFERENCES = tuple(
    Reference(seed=601 + number, pattern=_PATTERNS[number % len(_PATTERNS)], severity=0.3 + 0.025 * number)
    for number in range(24)
)


def reference_channels(cache: ChannelCache, progress: RunProgress) -> tuple[SeenChannels, ...]:
    """Channels of all reference studies, made once and kept.

    Parameters
    ----------
    cache
        Keeps them.
    progress
        Told of the second part of the stage ``material``.

    Raises
    ------
    WeightsError
        If the lesion network's weights are missing or damaged.
    CancelledError
        If the run is asked to stop.
    """

    def all_of_them() -> None:
        for number, reference in enumerate(REFERENCES):
            progress.update("material", 0.8 + 0.2 * number / len(REFERENCES))
            _seen(reference, cache, progress)

    distributed.from_first(all_of_them)
    return tuple(_seen(reference, cache, progress) for reference in REFERENCES)


def _seen(reference: Reference, cache: ChannelCache, progress: RunProgress) -> SeenChannels:
    found = cache.generated(reference.digest, reference.label, lambda: _study(reference), progress.inner())
    # A person's name for people; the digest says which one it is.
    return replace(found, source=f"reference {reference.seed}")


def _study(reference: Reference) -> tuple[Volume, LungMask]:
    study = reference.make()
    return study.volume, study.lungs
