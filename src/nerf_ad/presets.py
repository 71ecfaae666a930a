"""Whole training configurations by name: the only place where numbers are combined."""

from nerf_ad.dataset.sampler import RaySamplingConfig
from nerf_ad.models.fields.planes import PlaneFieldConfig
from nerf_ad.models.speech_code import SpeechCodeConfig
from nerf_ad.models.talking_head import TalkingHeadConfig
from nerf_ad.training.head import HeadTrainingConfig
from nerf_ad.training.speech import SpeechTrainingConfig
from nerf_ad.training.torso import TorsoTrainingConfig
from nerf_ad.training.train import TrainConfig

FAST = TrainConfig(preset="fast")
"""The planes field: half an hour on a laptop's CPU."""

TINY = TrainConfig(
    preset="tiny",
    model=TalkingHeadConfig(
        field=PlaneFieldConfig(resolutions=(16, 32, 64), hidden_dim=32), grid_resolution=32, num_steps=48
    ),
    speech_code=SpeechCodeConfig(hidden_dim=32, num_members=1),
    torso=TorsoTrainingConfig(num_steps=100),
    speech_training=SpeechTrainingConfig(num_steps=150),
    head=HeadTrainingConfig(
        num_steps=300, rays=RaySamplingConfig(num_rays=1024, num_frames=8), prune_after=100
    ),
)
"""Seconds on a CPU, for tests and for trying things out."""

PRESETS: dict[str, TrainConfig] = {"fast": FAST, "tiny": TINY}
