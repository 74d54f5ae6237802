"""Retraining on the labels of a site: cases and their frozen split, runs that survive a kill, and the gate."""
