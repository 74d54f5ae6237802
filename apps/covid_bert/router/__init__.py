"""The router beside the PACS: studies come in, are classified once they are complete, and results go out."""
