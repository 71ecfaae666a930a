"""Networks: no files, no loops."""
