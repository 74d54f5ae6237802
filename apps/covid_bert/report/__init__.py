"""What people read: pictures of results."""

from covid_bert.report.picture import study_picture

__all__ = ["study_picture"]
