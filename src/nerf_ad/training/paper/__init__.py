"""NeRF-AD's three stages."""
