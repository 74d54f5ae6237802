"""The configurations of the systems: what the papers and the authors' code do, and what is mended.

``published`` reproduces the published code; ``corrected`` mends its known defects. Both share networks and code;
`docs/systems.md` says what differs and why. ``small`` is ``corrected`` in a size for any computer, on lesion evidence,
with weights that come with the program.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from covid_bert.clips.stack import Channels
from covid_bert.volumes.windows import LUNG_WINDOW, Window

Precision = Literal["float32", "bfloat16", "auto"]


@dataclass(frozen=True)
class Part:
    """One network of a system: the name of its weights and of its architecture."""

    weights: str
    architecture: str


@dataclass(frozen=True)
class SystemConfiguration:
    """What all systems have.

    Parameters
    ----------
    name
        ``published``, ``corrected`` or ``small``.
    parts
        Networks by their role in the system.
    open_lungs
        Rule of the open-lung range: a name of `covid_bert.lungs.SELECTION_RULES`.
    slice_choice
        Name in `covid_bert.clips.SLICE_CHOICES`; for single slices ``central_slices``.
    stack_side, input_side
        Rows and columns of the prepared slices, and of the centre that the network sees.
    precision
        Of the trunk: float32, bfloat16 (with channels-last), or auto: bfloat16 where the processor computes in it.
    clip_length
        Slices of a clip.
    channels
        Composition of the input.
    window
        HU range that becomes 8 bit. The papers' data came as 8-bit images of an unknown window; this one is the
        common lung window of level -400 and width 1500.
    framed
        Whether the networks see a square around the lungs instead of the whole slices; see `ClipStack.prepare`.
    slice_step
        mm: of thinner slices, as many as fit into it are averaged to one; None keeps all.
    head
        Role of the network whose live version decides which versions of the others are used: those that it was fitted
        with. None for a system whose networks all have their own live version.
    """

    name: str
    parts: dict[str, Part]
    open_lungs: str
    slice_choice: str
    stack_side: int = 280
    input_side: int = 224
    precision: Precision = "auto"
    clip_length: int = 32
    channels: Channels = Channels.RML
    window: Window = field(default=LUNG_WINDOW)
    framed: bool = False
    slice_step: float | None = None
    head: str | None = None

    @property
    def needs_lesions(self) -> bool:
        """Whether the networks read the lesion network's probability."""
        return self.channels.shows_lesions


@dataclass(frozen=True)
class S1Configuration(SystemConfiguration):
    """S1: two stages.

    Parameters
    ----------
    segments
        Tokens of the study network.
    segment_mode
        ``pick``: the first embedding of each of `segments` bins, repeated where there are fewer windows (the code);
        ``mean``: the mean of each bin, fewer windows padded and masked (the paper's text).
    first_stage
        ``centre_out``: one strided clip of its own (the code); ``windows``: the mean over the windows.
    """

    segments: int = 16
    segment_mode: Literal["pick", "mean"] = "mean"
    first_stage: Literal["centre_out", "windows"] = "windows"


@dataclass(frozen=True)
class S2Configuration(SystemConfiguration):
    """S2: clip network over several clips, and the MLP on their embeddings.

    Parameters
    ----------
    decision
        Which of the two gives the final score. The MLP gained on validation and lost on test data in the paper.
    """

    decision: Literal["clips", "mlp"] = "clips"


@dataclass(frozen=True)
class BaselineConfiguration(SystemConfiguration):
    """The 2-D network with mean voting.

    Parameters
    ----------
    slice_count
        Slices that vote, spread evenly over the central half of the kept ones.
    """

    slice_count: int = 8


SMALL_STEP = 2.5
SMALL_STACK_SIDE, SMALL_INPUT_SIDE = 120, 96
_SMALL_CLIP = Part("default-clip-network", "r2plus1d18-narrow-bert")
_Configuration = TypeVar("_Configuration", bound=SystemConfiguration)


def _small(corrected: _Configuration, head: str, parts: dict[str, Part]) -> _Configuration:
    """The corrected rules on small framed slices, with the lesion network's probability as a channel."""
    return replace(
        corrected,
        name="small",
        parts=parts,
        stack_side=SMALL_STACK_SIDE,
        input_side=SMALL_INPUT_SIDE,
        channels=Channels.RPL,
        framed=True,
        slice_step=SMALL_STEP,
        head=head,
    )


S1_CONFIGURATIONS = {
    "corrected": S1Configuration(
        name="corrected",
        parts={
            "clip": Part("s1-clip-network", "r2plus1d34-bert"),
            "study": Part("s1-study-network-corrected", "study-bert-gelu"),
        },
        open_lungs="corrected",
        slice_choice="windows",
    ),
    "published": S1Configuration(
        name="published",
        parts={
            "clip": Part("s1-clip-network", "r2plus1d34-bert"),
            "study": Part("s1-study-network", "study-bert"),
        },
        open_lungs="published_two_stage",
        slice_choice="windows",
        precision="float32",
        segment_mode="pick",
        first_stage="centre_out",
    ),
}
S1_CONFIGURATIONS["small"] = _small(
    S1_CONFIGURATIONS["corrected"],
    "study",
    {
        "clip": _SMALL_CLIP,
        "study": Part("default-study-network", "study-bert-narrow"),
        "density": Part("default-s1-density", "clip-density-narrow"),
    },
)

S2_CONFIGURATIONS = {
    "corrected": S2Configuration(
        name="corrected",
        parts={
            "clip": Part("s2-clip-network", "r2plus1d34-bert"),
            "mlp": Part("s2-embedding-mlp", "embedding-mlp-256"),
        },
        open_lungs="corrected",
        slice_choice="phase_sets",
    ),
    "published": S2Configuration(
        name="published",
        parts={
            "clip": Part("s2-clip-network", "r2plus1d34-bert"),
            "mlp": Part("s2-embedding-mlp", "embedding-mlp-256"),
        },
        open_lungs="published_test",
        slice_choice="strided_sets",
        precision="float32",
        decision="mlp",
    ),
}
S2_CONFIGURATIONS["small"] = _small(
    S2_CONFIGURATIONS["corrected"],
    "mlp",
    {
        "clip": _SMALL_CLIP,
        "mlp": Part("default-embedding-mlp", "embedding-mlp-narrow"),
        "density": Part("default-s2-density", "clip-density-narrow"),
    },
)

BASELINE_CONFIGURATIONS = {
    "corrected": BaselineConfiguration(
        name="corrected",
        parts={"slice": Part("baseline-slice-network", "efficientnet-b3")},
        open_lungs="corrected",
        slice_choice="central_slices",
        stack_side=384,
        input_side=384,
        precision="float32",
        clip_length=1,
        channels=Channels.RRR,
    ),
}
BASELINE_CONFIGURATIONS["small"] = _small(
    BASELINE_CONFIGURATIONS["corrected"],
    "slice",
    {
        "slice": Part("default-slice-network", "efficientnet-b0-narrow"),
        "density": Part("default-baseline-density", "slice-density-narrow"),
    },
)
