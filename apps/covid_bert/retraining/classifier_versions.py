"""Trained classifiers as weights to be installed, with manifests that say what they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from covid_bert.networks.density import fit_density
from covid_bert.retraining.classifier_start import Networks
from covid_bert.retraining.classifier_systems import IMAGE_ROLE, Embedded, StudyReader, VoteReader
from covid_bert.retraining.records import Measured
from covid_bert.retraining.trained import THEN, TrainedWeights
from covid_bert.training.calibration import OutOfFold
from covid_bert.training.default_classifiers import HELD_SHARE
from covid_bert.training.installation import judgement
from covid_bert.weights.companions import DENSITY
from covid_bert.weights.manifest import Manifest, Provenance
from covid_bert.weights.registry import Metric
from covid_bert.weights.version_folder import InstalledWeights

# Whose weights carry the calibration of a system: those behind its final score.
CARRIER = {"s1": "study", "s2": "clip", "baseline": "slice"}


@dataclass(frozen=True, eq=False)
class Result:
    """What a training made of a system.

    Parameters
    ----------
    system
        ``s1``, ``s2`` or ``baseline``.
    began
        Versions by role.
    networks
        Trained.
    whole
        Whether the network on images was trained too.
    training, validation
        Embedded by the trained network.
    calibration
        Fitted on the validation studies; None where there is none.
    measured
        On the test studies, which decided neither when the training ended nor the calibration.
    lesions
        Weights of the lesion network: name and SHA-256.
    lungs
        Those of the lung network that found the lungs of the studies without a corrected mask; None where no network
        did. The weights name them, calibration and density do not: these hold for lungs that people drew too.
    """

    system: str
    began: Mapping[str, InstalledWeights]
    networks: Networks
    whole: bool
    training: Sequence[Embedded]
    validation: Sequence[Embedded]
    calibration: OutOfFold | None
    measured: tuple[Measured, ...]
    lesions: tuple[str, str]
    lungs: tuple[str, str] | None

    def weights(self) -> tuple[TrainedWeights, ...]:
        """All that is new, in the order in which they depend on each other."""
        image_role, reader = IMAGE_ROLE[self.system], self.networks.reader
        image = self.began[image_role]
        state = _state(self.networks.image)
        made: list[TrainedWeights] = []
        reads: tuple[str, ...] = ()
        if self.whole or isinstance(reader, VoteReader):
            own = reader.into(state) if isinstance(reader, VoteReader) else state
            made.append(self._one(image_role, own, ()))
            reads = (image.name,)
        if isinstance(reader, StudyReader):
            made.append(self._one("study", _state(reader.study), reads))
        elif isinstance(reader, VoteReader) and reader.mlp is not None:
            made.append(self._one("mlp", _state(reader.mlp), reads))
        density = self._density() if reads else None
        if density is not None:
            made.append(TrainedWeights(*density, reads))
        return tuple(made)

    def _one(self, role: str, state: Mapping[str, Tensor], reads: tuple[str, ...]) -> TrainedWeights:
        began = self.began[role]
        image = self.began[IMAGE_ROLE[self.system]]
        fitted_with = dict([self.lesions])
        if role != IMAGE_ROLE[self.system] and not reads:
            fitted_with[image.name] = image.sha256
        found = self.calibration if role == CARRIER[self.system] else None
        judged = judgement(found, self.system, self._data(), fitted_with) if found is not None else None
        provenance = self._provenance(began.manifest).model_copy(
            update={
                "fitted_with": fitted_with | (dict([self.lungs]) if self.lungs is not None else {}),
                "calibration": judged.calibration if judged else None,
                "operating_point": judged.operating_point if judged else None,
                "metrics": (*judged.metrics, *self._on_test()) if judged else (),
            }
        )
        return TrainedWeights(began.name, state, provenance, reads)

    def _on_test(self) -> tuple[Metric, ...]:
        return tuple(
            Metric(
                data=f"{item.data}, {item.patients} patients",
                measure=f"{item.measure}, {self.system}",
                value=round(item.value, 4),
            )
            for item in self.measured
        )

    def _density(self) -> tuple[str, Mapping[str, Tensor], Provenance] | None:
        """What the system calls like its training: fitted anew, or as before where the embeddings are the same."""
        began = self.began.get(DENSITY)
        if began is None:
            return None
        if self.whole:
            state = _fitted_density(self.training, self.validation)
        else:
            from safetensors.torch import load_file

            state = load_file(began.verified().path)
        provenance = self._provenance(began.manifest).model_copy(update={"fitted_with": dict([self.lesions])})
        return began.name, state, provenance

    def _provenance(self, before: Manifest) -> Provenance:
        # Of a training on a training only the last is named, or the sentence would grow without end.
        first = before.trained_on.split(THEN)[0]
        parts = "all networks" if self.whole else "what reads the embeddings"
        facts = {name: getattr(before, name) for name in Provenance.model_fields}
        return Provenance(
            **facts
            | {
                "trained_on": f"{first}{THEN}{parts} on {len(self.training)} labelled studies of "
                f"{len({study.source for study in self.training})} patients of this site",
                "source": f"trained by `covid-bert train covid_{self.system}`, beginning with {before.name} "
                f"{before.version}",
                "source_file": None,
                # Inherited from any of the networks: one that was only tried out makes the whole so.
                "demonstration": any(weights.manifest.demonstration for weights in self.began.values()),
            }
        )

    def _data(self) -> str:
        persons = len({study.source for study in self.validation})
        return (
            f"{len(self.validation)} labelled studies of {persons} patients of the frozen validation set, which also "
            "decided when the training ended"
        )


def _state(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}


def _fitted_density(training: Sequence[Embedded], validation: Sequence[Embedded]) -> dict[str, Tensor]:
    """Density of the training studies; its limit is what most studies keep within, also those it has not seen."""
    judged, held = (
        torch.stack([study.embeddings.mean(0) for study in studies]) if studies else None
        for studies in (training, validation)
    )
    assert judged is not None
    density = fit_density(judged)
    limits = [torch.quantile(density.distance(part), HELD_SHARE) for part in (judged, held) if part is not None]
    density.threshold.fill_(float(torch.stack(limits).max()))
    return _state(density)
