"""What the benchmarks of the server share: starting servers, small studies, load, and faults."""
