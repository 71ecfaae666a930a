"""The folder that capture writes and training reads."""
