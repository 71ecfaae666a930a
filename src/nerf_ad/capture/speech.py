"""Speech features of the clip's own sound."""

import numpy as np

from nerf_ad.core.files import Arrays
from nerf_ad.media.audio import Waveform
from nerf_ad.speech.encoder import SpeechEncoder


def encode_speech(waveform: Waveform, encoder: SpeechEncoder) -> Arrays:
    """The arrays of ``speech/NAME.npz``: features, steps per second, and the encoder's id."""
    features = encoder.encode(waveform.samples)
    return {
        "features": features.astype(np.float32),
        "rate_hz": np.array(encoder.rate_hz, np.float64),
        "encoder": np.array(encoder.id),
    }
