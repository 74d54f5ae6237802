"""What the simulation of active learning is made of: its pools, its rounds and its figure."""
