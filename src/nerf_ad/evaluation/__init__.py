"""An avatar against held-out frames."""
