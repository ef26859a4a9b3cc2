"""Measurements behind the figures of the theory."""
