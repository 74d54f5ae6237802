"""The codes that results are written with: SNOMED CT and DICOM where they have one, else a scheme of this program.

They are `Code`, which cannot change: a data set of a code that two segments shared would share its modifiers too.
"""

from __future__ import annotations

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from covid_bert.lesions.mask import CONSOLIDATION, GROUND_GLASS
from covid_bert.lungs.mask import LEFT_LUNG, RIGHT_LUNG
from covid_bert.report.words import class_title, density_title

SCHEME = "99COVIDBERT"

ANATOMICAL_STRUCTURE = Code("123037004", "SCT", "Anatomical Structure")
ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")
LUNG = Code("39607008", "SCT", "Lung")
# DICOM states the side beside the structure, not in it (PS3.16 CID 244).
SIDES = {
    RIGHT_LUNG: Code("24028007", "SCT", "Right"),
    LEFT_LUNG: Code("7771000", "SCT", "Left"),
}
BOTH_SIDES = Code("51440002", "SCT", "Right and left")
LESIONS = {
    GROUND_GLASS: Code("1217294009", "SCT", "Ground glass opacity"),
    CONSOLIDATION: Code("95436008", "SCT", "Lung consolidation"),
}
LUNG_LESION = Code("52988006", "SCT", "Lesion")

VOLUME = Code("118565006", "SCT", "Volume")
# CID 7462 has cubic units only; UCUM's millilitre is what every reader of lung volumes expects.
MILLILITER = Code("mL", "UCUM", "milliliter")
PERCENT = Code("%", "UCUM", "Percent")
NO_UNITS = Code("1", "UCUM", "no units")

CHEST_CT = Code("24627-2", "LN", "CT Chest")
COMMENT = Code("121106", "DCM", "Comment")
ARTIFICIAL_INTELLIGENCE = codes.cid7162.ArtificialIntelligence
MORPHOLOGICAL_OPERATIONS = codes.cid7162.MorphologicalOperations
MANUAL_PROCESSING = codes.cid7162.ManualProcessing
IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")

_CLASSES = {"covid": Code("840539006", "SCT", "COVID-19")}


def own(value: str, meaning: str) -> Code:
    """Return a code of this program's scheme; its meaning is cut to the 64 characters that DICOM has for it."""
    return Code(value, SCHEME, meaning[:64])


def class_code(name: str) -> Code:
    """Return the code of a class that systems tell apart."""
    return _CLASSES.get(name) or own(f"class-{name}", f"Class: {class_title(name)}")


def coding_schemes() -> list[CodingSchemeIdentificationItem]:
    """Return what introduces this program's scheme where its codes are used."""
    item = CodingSchemeIdentificationItem(
        SCHEME, name="covid-bert", version="1", responsible_organization="covid-bert, docs/dicom.md"
    )
    return [item]


PREDICTED_CLASS = own("predicted-class", "Predicted class")
OPERATING_POINT = own("operating-point", "Operating point: positive from this probability on")
CALIBRATED_ON = own("calibrated-on", "Probability was calibrated on")
THRESHOLD_CHOSEN_ON = own("threshold-on", "Operating point was chosen on")
NOT_CALIBRATED = own("not-calibrated", "Scores are not probabilities")
WEIGHTS_STATE = own("weights-state", "State of the weights")
WEIGHTS = own("weights", "Weights")
STAGE = own("stage", "Scores of a stage, not calibrated")
WARNING = own("warning", "Warning")
UNLIKENESS = own("unlikeness", "Distance from the training studies, limit 1")
SLICE_LOCATION_SHARE = own("slice-location", "Share of the location map that lies in the slice")
SLICE_SCORE = own("slice-score", "Mean score of the clips with the slice, not a probability")
LESION_SHARE = own("lesion-share", "Lesions, share of the lung's volume")
LOWER_SHARE = own("lesion-lower", "Share of the lesions in the lower half of the lungs' height")
PERIPHERAL_SHARE = own("lesion-periphery", "Share of the lesions within 20 mm of their lung's border")
LESION_COUNT = own("lesion-count", "Connected lesions of at least 0.1 mL")


def score_code(name: str) -> Code:
    """Return the code for the score of a class."""
    return own(f"score-{name}", f"Score, not calibrated: {class_title(name)}")


def probability_code(name: str) -> Code:
    """Return the code for the calibrated probability of a class."""
    return own(f"prob-{name}", f"Calibrated probability of {class_title(name)}")


def aeration_code(name: str) -> Code:
    """Return the code for the share of a lung in a class of density."""
    return own(name, f"Share of the lung's voxels: {density_title(name)}")
