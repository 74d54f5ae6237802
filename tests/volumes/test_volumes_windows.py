"""Grey windows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from volume_maker import canonical_affine, phantom, save

from covid_bert.errors import ParameterError
from covid_bert.volumes import CONTEXT_WINDOW, LUNG_WINDOW, TRIAGE_WINDOW, WINDOWS, Window, gray8_slices, read, to_gray8


def test_named_windows():
    assert (LUNG_WINDOW.lower, LUNG_WINDOW.upper) == (-1150, 350)
    assert (TRIAGE_WINDOW.lower, TRIAGE_WINDOW.upper) == (-1000, 300)
    assert (CONTEXT_WINDOW.lower, CONTEXT_WINDOW.upper) == (-1024, 240)
    assert WINDOWS == {"lung": LUNG_WINDOW, "triage": TRIAGE_WINDOW, "context": CONTEXT_WINDOW}


def test_limits_clip_and_the_middle_is_rounded():
    array = np.array([[-32768, -1150, -1147, -400, 347, 350, 32767]], np.int16)
    np.testing.assert_array_equal(to_gray8(array), [[0, 0, 1, 128, 254, 255, 255]])


@given(st.sampled_from(sorted(WINDOWS)), st.lists(st.integers(-32768, 32767), min_size=1, max_size=50))
def test_int16_and_float_agree_within_half_a_level_of_the_exact_line(name, values):
    window = WINDOWS[name]
    exact = np.clip((np.array(values) - window.lower) / (window.upper - window.lower), 0, 1) * 255
    gray = to_gray8(np.array([values], np.int16), window)
    assert gray.dtype == np.uint8
    assert np.abs(gray[0] - exact).max() <= 0.5 + 1e-9
    np.testing.assert_array_equal(gray, to_gray8(np.array([values], np.float32), window))


def test_memory_order_does_not_matter():
    array = phantom()
    np.testing.assert_array_equal(to_gray8(array.transpose(2, 1, 0)[::-1]), to_gray8(array).transpose(2, 1, 0)[::-1])


def test_chosen_slices_only(tmp_path):
    volume = read(save(tmp_path / "ct.nii", phantom().transpose(2, 1, 0), canonical_affine()))
    chosen = gray8_slices(volume, TRIAGE_WINDOW, [7, 0, 7])
    np.testing.assert_array_equal(chosen, to_gray8(phantom(), TRIAGE_WINDOW)[[7, 0, 7]])
    np.testing.assert_array_equal(gray8_slices(volume), to_gray8(phantom()))
    assert gray8_slices(volume, indices=np.array([], int)).shape == (0, *volume.shape[1:])


def test_empty_windows_are_refused():
    with pytest.raises(ParameterError):
        Window(100, 100)
