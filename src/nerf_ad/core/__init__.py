"""The ground floor: configs, errors, events, files, devices, third-party weights. Knows nothing of faces."""
