"""Trainings as they are but small: fewer slabs, steps and reference studies. Also `covid-bert` with these settings."""

from __future__ import annotations

from dataclasses import replace

from labelled_site import REFERENCE_SIZE

from covid_bert.retraining import classifiers, lung_learner, lungs, reference


def make_small() -> None:
    # As many as the gate needs to compare.
    reference.FULL = replace(REFERENCE_SIZE, lungs=3)
    lungs.PHANTOM_SEEDS = lungs.PHANTOM_SEEDS[:1]
    lungs.STEPS_PER_CASE, lungs.FEWEST_STEPS, lung_learner.BATCH = 1, 4, 2
    classifiers.MOST_STEPS = classifiers.FEWEST_STEPS


if __name__ == "__main__":
    make_small()
    from covid_bert.cli import main

    main()
