"""From a volume and its lung mask to the clips of slices that the networks see."""

from covid_bert.clips.augmentation import CorrectedAugmentation, PublishedAugmentation
from covid_bert.clips.sampling import SLICE_CHOICES
from covid_bert.clips.stack import Channels, ClipStack

__all__ = ["SLICE_CHOICES", "Channels", "ClipStack", "CorrectedAugmentation", "PublishedAugmentation"]
