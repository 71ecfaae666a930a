"""Estimators on pixels of a face."""
