"""MONAI Label's infer tasks and datastore: thin, without mathematics."""
