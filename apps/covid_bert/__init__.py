"""Chest CT study classification with 3D CNN-BERT: a library, a MONAI Label app and a command line.

Research use only: not a medical device.
"""

__version__ = "0.1.0"

RESEARCH_USE_ONLY = "Research use only. Not a medical device; not for diagnosis."
DEMONSTRATION_MODEL = "Demonstration model, trained on synthetic lesions; research use only."
