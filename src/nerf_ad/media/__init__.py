"""Bytes on disk to arrays and back: video, audio, images."""
