"""Neuroglancer."""
