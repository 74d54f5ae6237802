"""Two installed versions of a model judged anew, on held-out studies and on the reference studies."""

from __future__ import annotations

from collections.abc import Sequence

from covid_bert.errors import ParameterError
from covid_bert.lungs import unet
from covid_bert.networks.devices import choose_device
from covid_bert.retraining.cases import LabelledStudy, Part
from covid_bert.retraining.channel_cache import ChannelCache, SeenChannels
from covid_bert.retraining.classifier_judging import HeldStudies, judge_classifier
from covid_bert.retraining.classifier_material import prepared, references
from covid_bert.retraining.classifier_start import Networks, weights_with
from covid_bert.retraining.classifier_systems import Embedded, ImageNetwork, embed_with
from covid_bert.retraining.gate import Judgement
from covid_bert.retraining.lung_judging import judge_lungs
from covid_bert.retraining.models import Model
from covid_bert.retraining.progress import RunProgress
from covid_bert.segmentation import load_segmenter
from covid_bert.weights.version_folder import InstalledWeights


def compare_versions(
    model: Model,
    before: InstalledWeights,
    after: InstalledWeights,
    studies: Sequence[LabelledStudy],
    progress: RunProgress,
    *,
    device: str = "auto",
) -> Judgement:
    """Judge two versions as a training judges its candidate and the live version.

    Parameters
    ----------
    model
        The model.
    before, after
        Versions of its head; `after` stands where the candidate does.
    studies
        Of the parts validation and test; those without what the model learns from are passed over, and those that
        cannot be read are named in the progress. Without any, the reference studies are all that is judged on.
    progress
        Told of the stages ``material`` and ``judging``; may ask to stop.
    device
        See `covid_bert.networks.devices.choose_device`.

    Returns
    -------
    Judgement
        What the held-out studies are too few for is left out.

    Raises
    ------
    ParameterError
        If a study is of the training part, or there is no such device.
    WeightsError
        If weights are missing or damaged, or the reference studies cannot be kept.
    CancelledError
        If the run is asked to stop.
    """
    if any(study.part is Part.TRAINING for study in studies):
        raise ParameterError("Versions are compared on patients that they did not learn from.", "Leave the others out.")
    if model.system is None:
        candidate, other = (load_segmenter(version, unet.ARCHITECTURE, device) for version in (after, before))
        masked = [study for study in studies if study.mask is not None]
        return judge_lungs(candidate, {before.version: other}, masked, progress)[0]
    system, place = model.system, choose_device(device)
    networks, others = (Networks.of(system, weights_with(model, version)) for version in (after, before))
    labelled = [study for study in studies if study.study_class is not None]
    found = prepared(labelled, ChannelCache(device=str(place)), progress)
    validation, test = ([seen for study, seen in found if study.part is part] for part in (Part.VALIDATION, Part.TEST))
    held = HeldStudies(validation, test, references(progress))

    def embed(network: ImageNetwork, shown: Sequence[SeenChannels]) -> list[Embedded]:
        return embed_with(network.to(place), system, shown, device=place, on_study=lambda _study: progress.check())

    return judge_classifier(networks, {before.version: others}, held, embed, progress).judgement
