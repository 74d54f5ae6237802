"""Stored pixel values of DICOM slices: of files with one image, and of the frames of multi-frame files.

Damaged pixel data reach GDCM's decoders, which are written in C and C++: the server reads studies in a process that may
end without harm.
"""

from __future__ import annotations

import gdcm
import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_pixel_data_frame
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessP14,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    UID_dictionary,
)

from covid_bert.errors import UnreadableFileError
from covid_bert.volumes.codestreams import stated_size
from covid_bert.volumes.dicom_files import guarded, native_pixels_at, read_header_of, read_image_of
from covid_bert.volumes.dicom_headers import GREY, SliceHeader

_IMAGE_TAGS = [
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit",
]  # fmt: skip
_NATIVE = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian})
# What each lossless one holds is what was compressed; the others may have lost something.
_LOSSLESS = frozenset({JPEGLosslessP14, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless})
LOSSY_SYNTAXES = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000})
_READ = _NATIVE | {DeflatedExplicitVRLittleEndian} | _LOSSLESS | LOSSY_SYNTAXES
_ALLOCATED = (8, 16, 32)
_LARGEST_VOXEL_BYTES = 4

# GDCM prints to the terminal; its failures come back as errors.
gdcm.Trace.WarningOff()
gdcm.Trace.ErrorOff()


class Decoder:
    """Decodes slices one by one; of a multi-frame file, it keeps what all its frames need."""

    def __init__(self) -> None:
        self._open: _FrameFile | None = None

    def decode(self, header: SliceHeader) -> tuple[Dataset, npt.NDArray[np.integer]]:
        """Return the data set of a slice and its stored values (rows, columns), sign and unused bits put right.

        Raises
        ------
        UnreadableFileError
            If pixel data are missing, truncated or damaged, or compressed in a way that is not read here.
        """
        if header.transfer_syntax not in _READ:
            raise _not_read_here(header)
        try:
            if header.frame is None:
                size = header.rows * header.columns * _LARGEST_VOXEL_BYTES
                dataset = read_image_of(header.path, [*_IMAGE_TAGS, "PixelData"], size)
            else:
                if self._open is None or self._open.path != header.path:
                    self._open = _FrameFile(header)
                dataset = self._open.frame(header.frame)
            _complete(dataset, header)
            _check_codestream(dataset, header)
            stored = dataset.pixel_array
            if stored.shape != (header.rows, header.columns):
                raise ValueError("the decoded image has another size than its header says")
            return dataset, _used_bits(dataset, stored)
        except (MemoryError, UnreadableFileError):
            raise
        except Exception as error:  # decoders raise errors of every kind on damaged data
            raise UnreadableFileError(
                f"The pixel data of {header.name} are truncated, damaged or compressed in an unknown way.",
                "Export the series again from the PACS.",
            ) from error


class _FrameFile:
    """The pixel data of a multi-frame file; of uncompressed ones, only the frame that is asked for is read."""

    def __init__(self, header: SliceHeader) -> None:
        self.path = header.path
        self._mapped: npt.NDArray[np.uint8] | None = None
        self._packed: list[bytes] = []
        if header.transfer_syntax in _NATIVE:
            self._image = read_header_of(self.path, _IMAGE_TAGS)
            position, length = native_pixels_at(self.path)
            self._mapped = np.memmap(self.path, np.uint8, "r", position, (length,))
            return
        count = int(read_header_of(self.path, ["NumberOfFrames"]).get("NumberOfFrames") or 1)
        size = header.rows * header.columns * _LARGEST_VOXEL_BYTES * count
        self._image = read_image_of(self.path, [*_IMAGE_TAGS, "PixelData"], size)
        pixels = self._image.PixelData
        del self._image.PixelData
        if header.transfer_syntax == DeflatedExplicitVRLittleEndian:
            self._mapped = np.frombuffer(pixels, np.uint8)
        else:
            self._packed = guarded(self.path, lambda: list(generate_pixel_data_frame(pixels, count)))
            if len(self._packed) != count:
                raise EOFError("fewer frames than the header says")

    def frame(self, index: int) -> Dataset:
        """Return a data set of one frame alone."""
        single = Dataset(self._image)
        single.file_meta = self._image.file_meta
        single.is_little_endian, single.is_implicit_VR = self._image.is_little_endian, self._image.is_implicit_VR
        single.NumberOfFrames = 1
        if self._mapped is None:
            single.PixelData = encapsulate([self._packed[index]])
            single["PixelData"].is_undefined_length = True
            return single
        size = single.Rows * single.Columns * int(single.get("SamplesPerPixel") or 1) * single.BitsAllocated // 8
        pixels = self._mapped[index * size : (index + 1) * size].tobytes()
        single.PixelData = pixels + b"\0" * (len(pixels) % 2)
        single["PixelData"].VR = "OW" if single.BitsAllocated > 8 else "OB"
        return single


def _complete(dataset: pydicom.Dataset, header: SliceHeader) -> None:
    """Fill in what can only have one value, and refuse what cannot be known or cannot be."""
    for keyword in ("BitsAllocated", "PixelRepresentation", "PixelData"):
        if dataset.get(keyword) is None:
            raise UnreadableFileError(
                f"The attribute {keyword} of {header.name} is missing, without which its values cannot be read.",
                "Export the series again from the PACS.",
            )
    # GDCM ends the process at a kind of colours that it does not know.
    if header.samples != 1 or header.photometric not in GREY:
        raise ValueError("no grey levels")
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = header.samples, header.photometric
    if dataset.get("BitsStored") is None:
        dataset.BitsStored = dataset.BitsAllocated
    if dataset.get("HighBit") is None:
        dataset.HighBit = dataset.BitsStored - 1
    allocated, used, highest = dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit
    if allocated not in _ALLOCATED or not 0 < used <= highest + 1 <= allocated:
        raise ValueError("impossible numbers of bits")


def _check_codestream(dataset: pydicom.Dataset, header: SliceHeader) -> None:
    """Refuse compressed data of another size than the header says: decoders make room for what the data say."""
    if header.transfer_syntax in (*_NATIVE, DeflatedExplicitVRLittleEndian, RLELossless):
        return
    codestream = next(generate_pixel_data_frame(dataset.PixelData, 1))
    if stated_size(codestream) != (header.columns, header.rows):
        raise ValueError("the compressed image has another size than its header says")


def _used_bits(dataset: pydicom.Dataset, stored: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Drop bits that are not part of the value (old files keep overlays there) and extend the sign bit."""
    width = stored.dtype.itemsize * 8
    used = int(dataset.BitsStored)
    above = width - 1 - int(dataset.HighBit)
    if used >= width or above < 0:
        return stored
    # Shifting right fills with the sign bit for signed types and with zeros for unsigned ones.
    return (stored << above) >> (width - used)


def _not_read_here(header: SliceHeader) -> UnreadableFileError:
    known = header.transfer_syntax in UID_dictionary
    name = f"'{UID(header.transfer_syntax).name}'" if known else "an unknown transfer syntax"
    return UnreadableFileError(
        f"The pixel data of {header.name} are stored in {name}, which is not read here.",
        "Let the PACS send the series uncompressed (Explicit VR Little Endian), or convert it with gdcmconv --raw.",
    )
