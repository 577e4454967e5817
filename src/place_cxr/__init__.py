"""PLACE: medical visual representations from image-report pairs. Research use only, not a medical device."""

__version__ = "0.1.0"
