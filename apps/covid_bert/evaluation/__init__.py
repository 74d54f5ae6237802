"""Evaluation: metrics with intervals, and the external measurement of the default model."""
