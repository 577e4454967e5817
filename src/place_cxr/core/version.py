"""What this package is: its version, and the notice that goes with every result."""

__version__ = "0.1.0"
RESEARCH_NOTICE = "Research use only. Not a medical device. Do not use for diagnosis."
