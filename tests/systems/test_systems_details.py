"""Segments, the clip that two choices share, precision, moving pointers, exhausted memory, foreign inputs."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest
import torch

from covid_bert.errors import OutOfMemoryError, WeightsError
from covid_bert.lungs.mask import LungMask
from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.systems import create, loading
from covid_bert.systems.baseline import central_slices
from covid_bert.systems.configuration import S1_CONFIGURATIONS
from covid_bert.systems.memory import CARD_TOO_SMALL, on_card_or_processor
from covid_bert.systems.s1 import TwoStageSystem
from covid_bert.volumes import Volume
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.registry import Calibration, InputContract, OperatingPoint, Role
from covid_bert.weights.store import live, publish

pytestmark = pytest.mark.usefixtures("small_networks")


def install(name: str, architecture: str, role: Role, seed: int = 1, **facts) -> str:
    torch.manual_seed(seed)
    version = add_version(
        name, ARCHITECTURES[architecture]().state_dict(), Provenance(architecture=architecture, role=role, **facts)
    )
    return publish(name, version.version).version


@pytest.mark.parametrize("windows", [1, 3, 16, 40])
def test_segments_as_published_and_as_corrected(windows: int) -> None:
    embeddings = torch.arange(windows).float()[:, None].repeat(1, 4)
    published = TwoStageSystem(S1_CONFIGURATIONS["published"], device="cpu")
    tokens, valid, members = published._segments(embeddings)
    starts = np.linspace(0, windows, 17).astype(int)[:-1]
    assert tokens[0, :, 0].tolist() == starts.tolist()
    assert valid.all()
    assert [member.tolist() for member in members] == [[start] for start in starts]
    corrected = TwoStageSystem(S1_CONFIGURATIONS["corrected"], device="cpu")
    tokens, valid, members = corrected._segments(embeddings)
    count = min(windows, 16)
    assert tokens.shape == (1, 16, 4)
    assert valid[0].tolist() == [True] * count + [False] * (16 - count)
    assert tokens[0, :count, 0].tolist() == pytest.approx([float(member.mean()) for member in members])


@pytest.mark.parametrize("kept", [20, 32, 33, 64, 70])
def test_published_first_stage_is_the_strided_clip_for_any_number_of_slices(phantom, monkeypatch, kept: int) -> None:
    """With 33 slices the strided clip is the second window."""
    from covid_bert.clips.sampling import centre_out
    from covid_bert.systems import slices

    first = 5
    monkeypatch.setattr(slices, "_kept_slices", lambda *_: np.arange(first, first + kept))
    result = create("s1", "published", device="cpu").classify(phantom.volume, phantom.lungs).result
    strided = (centre_out(kept) + first).tolist()
    (own,) = {tuple(window.scores.items()) for window in result.windows if window.slice_indices == strided}
    assert dict(own) == pytest.approx(result.stages[0].scores)
    kinds = [window.kind for window in result.windows]
    assert kinds.count("centre_out") == (1 if kept > 33 and kept != 32 else 0)


def test_bfloat16_agrees_with_single_precision(phantom, monkeypatch) -> None:
    scores = {}
    for abilities, dtype in (({}, torch.float32), ({"avx512_bf16": True}, torch.bfloat16)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda abilities=abilities: abilities)
        system = create("s2", device="cpu")
        assert system.dtype is dtype
        result = system.classify(phantom.volume, phantom.lungs).result
        assert result.provenance.precision == str(dtype).removeprefix("torch.")
        scores[dtype] = result.class_scores["covid"]
    assert scores[torch.bfloat16] == pytest.approx(scores[torch.float32], abs=0.02)
    assert create("s2", "published", device="cpu").dtype is torch.float32


def test_a_pointer_that_moves_while_weights_load_cannot_mix_versions(phantom, monkeypatch) -> None:
    for seed in (1, 2):
        install("baseline-slice-network", "efficientnet-b3", Role.SLICE_NETWORK, seed)
    publish("baseline-slice-network", "v001")
    original = loading.load_into

    def pointer_moves_first(module, name, *arguments, **options):
        publish("baseline-slice-network", "v002")
        return original(module, name, *arguments, **options)

    monkeypatch.setattr(loading, "load_into", pointer_moves_first)
    first = create("baseline", device="cpu").classify(phantom.volume, phantom.lungs).result
    assert [item.version for item in first.provenance.weights] == ["v001"]
    monkeypatch.setattr(loading, "load_into", original)
    second = create("baseline", device="cpu").classify(phantom.volume, phantom.lungs).result
    assert [item.version for item in second.provenance.weights] == ["v002"]
    publish("baseline-slice-network", "v001")
    third = create("baseline", device="cpu").classify(phantom.volume, phantom.lungs).result
    assert third.class_scores == first.class_scores != second.class_scores


def test_a_version_name_that_is_used_again_is_other_weights(phantom) -> None:
    install("baseline-slice-network", "efficientnet-b3", Role.SLICE_NETWORK, seed=1)
    first = create("baseline", device="cpu").classify(phantom.volume, phantom.lungs).result
    shutil.rmtree(live("baseline-slice-network").path.parents[1])
    install("baseline-slice-network", "efficientnet-b3", Role.SLICE_NETWORK, seed=2)
    second = create("baseline", device="cpu").classify(phantom.volume, phantom.lungs).result
    assert [item.version for item in first.provenance.weights] == [item.version for item in second.provenance.weights]
    assert first.class_scores != second.class_scores


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"../other", b"v1"])
def test_a_damaged_pointer_is_a_sentence(phantom, content: bytes) -> None:
    install("baseline-slice-network", "efficientnet-b3", Role.SLICE_NETWORK)
    folder = live("baseline-slice-network").path.parents[1]
    (folder / "live").write_bytes(content)
    served = create("baseline", device="cpu").classify(phantom.volume, phantom.lungs).result
    assert any("pointer" in warning and "v001 was used in its place" in warning for warning in served.warnings)
    (folder / "history.jsonl").unlink()
    with pytest.raises(WeightsError) as caught:
        create("baseline", device="cpu").classify(phantom.volume, phantom.lungs)
    assert "weights publish" in caught.value.hint


def test_two_studies_at_once_give_what_each_gives_alone(phantom) -> None:
    alone = create("s1", device="cpu").classify(phantom.volume, phantom.lungs).result.class_scores
    together: list[dict[str, float]] = []

    def work() -> None:
        result = create("s1", device="cpu").classify(phantom.volume, phantom.lungs).result
        together.append(result.class_scores)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [alone] * 3


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_exhausted_memory_is_one_typed_error(phantom, monkeypatch, error) -> None:
    def exhausted(*_, **__):
        raise error

    monkeypatch.setattr("covid_bert.systems.s2.run_clips", exhausted)
    with pytest.raises(OutOfMemoryError) as caught:
        create("s2", device="cpu").classify(phantom.volume, phantom.lungs)
    assert caught.value.exit_code == 7


def test_a_card_that_is_too_small_is_replaced_by_the_processor_and_the_result_says_so(phantom) -> None:
    tried = []

    def compute(volume: Volume, device: str) -> tuple[str, ...]:
        tried.append(device)
        if device != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return create("baseline", device=device).classify(volume, phantom.lungs).result.warnings

    warnings = on_card_or_processor(phantom.volume, "cuda:0", compute)
    assert tried == ["cuda:0", "cpu"]
    assert warnings.count(CARD_TOO_SMALL) == 1
    assert CARD_TOO_SMALL not in on_card_or_processor(phantom.volume, "cpu", compute)


def test_a_machine_that_is_too_small_is_not_tried_twice(phantom) -> None:
    tried = []

    def compute(_: Volume, device: str) -> None:
        tried.append(device)
        raise MemoryError

    with pytest.raises(OutOfMemoryError):
        on_card_or_processor(phantom.volume, "cuda:0", compute)
    assert tried == ["cuda:0"]


def test_weights_for_another_input_are_refused(phantom) -> None:
    contract = InputContract(window_hu=(-1000.0, 300.0), size=(384, 384))
    install("baseline-slice-network", "efficientnet-b3", Role.SLICE_NETWORK, input=contract)
    with pytest.raises(WeightsError, match="window"):
        create("baseline", device="cpu").classify(phantom.volume, phantom.lungs)


def test_a_calibration_is_void_with_other_networks(phantom) -> None:
    install("s1-clip-network", "r2plus1d34-bert", Role.CLIP_NETWORK)

    def calibrated_with(sha256: str) -> dict:
        return {
            "calibration": Calibration(temperature=1.5, fitted_on="a test", fitted_with={"s1-clip-network": sha256}),
            "operating_point": OperatingPoint(positive_class="covid", threshold=0.5, chosen_by="a test"),
        }

    facts = calibrated_with(live("s1-clip-network").sha256)
    install("s1-study-network-corrected", "study-bert-gelu", Role.STUDY_NETWORK, **facts)
    assert create("s1", device="cpu").classify(phantom.volume, phantom.lungs).result.calibrated_probability is not None
    install("s1-clip-network", "r2plus1d34-bert", Role.CLIP_NETWORK, seed=9)
    result = create("s1", device="cpu").classify(phantom.volume, phantom.lungs).result
    assert result.calibrated_probability is None
    assert any("calibration" in warning for warning in result.warnings)


def test_an_untrained_part_that_does_not_decide_does_not_taint_the_score(phantom) -> None:
    install("s2-clip-network", "r2plus1d34-bert", Role.CLIP_NETWORK)
    result = create("s2", device="cpu").classify(phantom.volume, phantom.lungs).result
    assert result.weights_state.value == "trained"
    assert {stage.name: stage.weights_state.value for stage in result.stages} == {
        "clips": "trained",
        "mlp": "untrained",
    }
    assert result.untrained_weights == ["s2-embedding-mlp"]
    assert result.stages_agree is None, "an untrained stage has no opinion"
    published = create("s2", "published", device="cpu").classify(phantom.volume, phantom.lungs).result
    assert published.weights_state.value == "untrained"


def test_central_slices_lie_in_the_central_half() -> None:
    for slices in range(1, 400):
        chosen = central_slices(slices, 8)
        assert 1 <= len(chosen) <= 8
        assert chosen[0] >= slices // 4
        assert chosen[-1] < slices - slices // 4 or slices < 4


def test_every_part_of_every_configuration_is_in_the_registry() -> None:
    from covid_bert.systems import SYSTEMS
    from covid_bert.weights import entry

    for item in SYSTEMS.values():
        for configuration in item.configurations.values():
            for part in configuration.parts.values():
                assert entry(part.weights).architecture == part.architecture


def test_a_given_mask_keeps_its_sides(phantom) -> None:
    only_right = np.where(phantom.lungs.array == 1, 1, 0).astype(np.uint8)
    result = create("baseline", device="cpu").classify(phantom.volume, LungMask(only_right, "given")).result
    assert result.lungs.left_ml == 0
    assert result.lungs.right_ml > 500
    assert result.location_map.left_share == 0
