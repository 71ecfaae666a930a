"""Speech features of the clip's own sound."""

import numpy as np

from nerf_ad.core.files import Arrays
from nerf_ad.media.audio import SPEECH_RATE, Waveform
from nerf_ad.speech.deepspeech import DeepSpeechArrays
from nerf_ad.speech.encoder import SpeechEncoder


def encode_speech(waveform: Waveform, encoder: SpeechEncoder) -> Arrays:
    """The arrays of ``speech/NAME.npz``: features, steps per second, and the encoder's id."""
    features = encoder.encode(waveform.samples)
    return {
        "features": features.astype(np.float32),
        "rate_hz": np.array(encoder.rate_hz, np.float64),
        "encoder": np.array(encoder.id),
    }


def try_supplied(encoder: SpeechEncoder, seconds: float) -> None:
    """See, before anything is written, whether features or a network of the user's will serve.

    Args:
        encoder: made of the user's file.
        seconds: how long the clip is.

    Raises:
        FormatError: the features are of another sound.
        WeightsError: the network does not turn speech into features.
    """
    if isinstance(encoder, DeepSpeechArrays):
        encoder.refuse_other_length(round(seconds * encoder.rate_hz))
    else:
        encoder.encode(np.zeros(SPEECH_RATE, np.float32))
