"""The trained person, as a folder that explains itself."""
