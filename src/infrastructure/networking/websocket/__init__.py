"""Connections, the lane each has, and the two architectures over it."""
