"""Functions of tensors that say how good a picture or a mouth is."""
