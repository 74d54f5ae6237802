"""What the lung and the lesion network share: the working grid, loading, and inference on its planes.

Importing this package does not import torch.
"""

from covid_bert.segmentation.inference import input_channels, predict, scale
from covid_bert.segmentation.loading import LoadedSegmenter, load_segmenter, ready_segmenter
from covid_bert.segmentation.uncertainty import border_entropy
from covid_bert.segmentation.working_grid import WorkingGrid

__all__ = [
    "LoadedSegmenter",
    "WorkingGrid",
    "border_entropy",
    "input_channels",
    "load_segmenter",
    "predict",
    "ready_segmenter",
    "scale",
]
