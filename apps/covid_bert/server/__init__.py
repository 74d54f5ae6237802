"""The server around MONAI Label's application."""
