"""An avatar and audio become frames."""
