"""Chest CT study classification with 3D CNN-BERT: a library, a MONAI Label app and a command line.

Research use only: not a medical device.
"""

import os

# torch reads this before its first tensor. Each large tensor is memory new from the system: in pages of 2 MiB it costs
# far less than in pages of 4 KiB, above all beside other work that has just used the memory (benchmarks/README.md).
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

__version__ = "0.1.0"

RESEARCH_USE_ONLY = "Research use only. Not a medical device; not for diagnosis."
DEMONSTRATION_MODEL = "Demonstration model, trained on synthetic lesions; research use only."
