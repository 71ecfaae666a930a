"""Speech encoders and their windows."""
