"""Training on the server: a list of runs that survives restarts, one process for the run whose turn it is."""
