"""The training loop of the lung and the lesion segmenter."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot
from torch.utils.data import DataLoader

from covid_bert.synthesis import IGNORE
from covid_bert.training.material import Material
from covid_bert.training.schedule import Schedule
from covid_bert.training.slabs import SlabBatches, SlabTask, WorkingMaterial

SMOOTH = 1.0


def segmentation_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy plus soft Dice loss over the classes that are not background.

    Parameters
    ----------
    logits
        (batch, classes, rows, columns).
    targets
        int64 (batch, rows, columns); 255 where nothing is learned.

    Notes
    -----
    Dice is taken over the whole batch, so that samples without a class do not count as failures.
    (F. Isensee et al., "nnU-Net", Nature Methods 18:203-211, 2021, uses the same pair of losses.)
    """
    valid = (targets != IGNORE).unsqueeze(1).float()
    likelihood = cross_entropy(logits, targets, ignore_index=IGNORE)
    classes = logits.shape[1]
    truth = one_hot(targets.where(targets != IGNORE, 0), classes).movedim(-1, 1).float()[:, 1:] * valid
    share = logits.softmax(1)[:, 1:] * valid
    both = (truth * share).sum((0, 2, 3))
    dice = (2 * both + SMOOTH) / (truth.sum((0, 2, 3)) + share.sum((0, 2, 3)) + SMOOTH)
    # Of any lesion or lung as well: telling the classes apart is the lesser question.
    union = (truth.sum(1), share.sum(1))
    any_dice = (2 * (union[0] * union[1]).sum() + SMOOTH) / (union[0].sum() + union[1].sum() + SMOOTH)
    return likelihood + (1 - dice.mean()) + (1 - any_dice)


def one_thread(_worker: int) -> None:
    """Leave the cores to the network."""
    threadpool_limits(1)


def train_segmenter(
    module: nn.Module,
    materials: list[Material],
    task: SlabTask,
    schedule: Schedule,
    *,
    seed: int,
    device: str = "cpu",
    precision: torch.dtype = torch.bfloat16,
    on_step: Callable[[int, float, float], None] | None = None,
    time_limit: float | None = None,
) -> nn.Module:
    """Train a segmenter on synthetic studies that are made meanwhile.

    Parameters
    ----------
    module
        `covid_bert.networks.segmenter.SliceSegmenter` of the task's channels and classes; trained in place.
    materials
        Real studies and phantoms.
    task, schedule
        What to learn, and for how long.
    seed
        Of the samples; the module's initialisation is the caller's.
    device
        Torch device.
    precision
        Of the forward pass; weights and loss stay in float32.
    on_step
        Told step, mean loss since it was last told, and seconds since the start; may raise to cancel.
    time_limit
        Seconds after which the learning rate is brought down and training ends; None for all steps.

    Returns
    -------
    nn.Module
        The module in evaluation mode, on the CPU.
    """
    working = [WorkingMaterial.of(material, task.pixel, around_lungs=task.sees_lungs) for material in materials]
    batches = SlabBatches(working, task, seed=seed, batch=schedule.batch)
    loader = DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=6, worker_init_fn=one_thread)
    module = module.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(module.parameters(), schedule.learning_rate, weight_decay=schedule.weight_decay)
    started, total, count = time.monotonic(), 0.0, 0
    step = 0
    for samples, targets in loader:
        elapsed = time.monotonic() - started
        progress = step / schedule.steps
        if time_limit is not None:
            progress = max(progress, elapsed / time_limit)
        if progress >= 1.0:
            break
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * schedule.rate(int(progress * schedule.steps))
        images = samples.to(device, memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=precision is torch.bfloat16):
            logits = module(images)
        loss = segmentation_loss(logits.float(), targets.to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        optimizer.step()
        total, count, step = total + float(loss.detach()), count + 1, step + 1
        if on_step is not None and step % 25 == 0:
            on_step(step, total / count, elapsed)
            total, count = 0.0, 0
    return module.to("cpu").eval()
