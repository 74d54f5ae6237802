"""The studies that a server offers: images, labels with all their versions, and study labels, in one folder."""
