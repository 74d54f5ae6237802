"""Inferences as jobs: a queue that survives a restart, and one process that computes."""
