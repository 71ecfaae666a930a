"""A training of all stages in seconds: sizes at which nothing is learnt and everything is run."""

from nerf_ad.models.paper.au_attention import AuAttentionConfig
from nerf_ad.models.paper.au_classifier import AuClassifierConfig
from nerf_ad.models.paper.audio import AudioConfig
from nerf_ad.models.paper.conditions import ConditionConfig, PaperModelConfig
from nerf_ad.models.paper.critic import CriticConfig
from nerf_ad.models.paper.fusion import FusionConfig
from nerf_ad.models.paper.identity import IdentityConfig
from nerf_ad.models.paper.landmark_code import LandmarkCodeConfig
from nerf_ad.models.paper.nerf import ConditionalNerfConfig, PaperHeadConfig
from nerf_ad.training.paper.attention import AttentionTrainingConfig
from nerf_ad.training.paper.classifiers import ClassifierTrainingConfig
from nerf_ad.training.paper.config import PaperTrainConfig
from nerf_ad.training.paper.fusion import FusionTrainingConfig
from nerf_ad.training.paper.nerf_config import NerfTrainingConfig

CROP = 32

BRIEF = PaperTrainConfig(
    preset="brief",
    size=32,
    model=PaperModelConfig(
        conditions=ConditionConfig(
            audio=AudioConfig(widths=(8, 8, 8, 8), code_dim=8, attended_dim=4, normalised=True),
            fusion=FusionConfig(
                crop_size=CROP,
                encoder_widths=(4, 4, 6, 6),
                encoder_hidden=12,
                face_code_dim=7,
                gru_dim=9,
                seed_width=5,
                decoder_widths=(6, 5, 4, 4),
                output_width=3,
                start="scaled",
            ),
            landmarks=LandmarkCodeConfig(widths=(8,), code_dim=6),
        ),
        head=PaperHeadConfig(
            field=ConditionalNerfConfig(depth=2, width=16, again_after=1, colour_depth=1, colour_width=8),
            identity=IdentityConfig(
                reference_size=16, extractor_dim=4, feature_dim=4, offset_dims=(8, 4), ray_dim=4, slot_dim=4
            ),
            num_references=2,
            face_dim=7,
            offset_code_dim=8,
            point_frequencies=4,
            direction_frequencies=1,
            point_scale=10.0,
            coarse_samples=6,
            fine_samples=6,
        ),
    ),
    mask=AuAttentionConfig(size=CROP, width=4, num_blocks=1),
    critic=CriticConfig(size=CROP, width=4, num_layers=4),
    attention=AttentionTrainingConfig(num_epochs=2, batch_size=16, critic_steps=2),
    classifier=AuClassifierConfig(crop_size=CROP, block_widths=((4, 4),), hidden=(8,)),
    classifier_training=ClassifierTrainingConfig(num_steps=12, batch_size=8),
    fusion=FusionTrainingConfig(num_steps=12, batch_size=4, validate_every=4),
    nerf=NerfTrainingConfig(num_steps=24, num_rays=64, smooth_from=12),
)
