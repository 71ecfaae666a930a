"""Cameras, rays, rotations."""
