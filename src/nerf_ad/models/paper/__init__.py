"""NeRF-AD's networks, one file each."""
