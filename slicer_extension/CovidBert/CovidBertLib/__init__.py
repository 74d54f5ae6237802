"""Parts of the CovidBert module of 3D Slicer."""
