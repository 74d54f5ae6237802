"""Torch modules of the published systems: tensors in, tensors out, nothing of files or volumes."""
