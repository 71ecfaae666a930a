"""Do the lips follow the sound: our own scorer, and the maths and network of LSE-C and LSE-D."""
