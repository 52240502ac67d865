"""Synthetic retinal fundus images with their vessel annotations. Not for diagnosis."""

__version__ = "0.6.1"
