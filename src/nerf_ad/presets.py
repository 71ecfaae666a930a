"""Whole training configurations by name: the only place where numbers are combined."""

from typing import Any, assert_never, get_args

from nerf_ad.core.config import merged
from nerf_ad.dataset.sampler import RaySamplingConfig
from nerf_ad.models.fields.planes import PlaneFieldConfig
from nerf_ad.models.paper.au_attention import AuAttentionConfig
from nerf_ad.models.paper.au_classifier import AuClassifierConfig
from nerf_ad.models.paper.audio import AudioConfig
from nerf_ad.models.paper.conditions import ConditionConfig, PaperModelConfig
from nerf_ad.models.paper.critic import CriticConfig
from nerf_ad.models.paper.fusion import FusionConfig
from nerf_ad.models.paper.identity import IdentityConfig
from nerf_ad.models.paper.nerf import ConditionalNerfConfig, PaperHeadConfig
from nerf_ad.models.speech_code import SpeechCodeConfig
from nerf_ad.models.talking_head import TalkingHeadConfig
from nerf_ad.training.fast_ad import FastAdTrainConfig
from nerf_ad.training.head import HeadTrainingConfig
from nerf_ad.training.hearing import HearingConfig
from nerf_ad.training.paper.attention import AttentionTrainingConfig
from nerf_ad.training.paper.classifiers import ClassifierTrainingConfig
from nerf_ad.training.paper.config import PaperTrainConfig, Row
from nerf_ad.training.paper.fusion import FusionTrainingConfig
from nerf_ad.training.paper.nerf_config import NerfTrainingConfig
from nerf_ad.training.speech import SpeechTrainingConfig
from nerf_ad.training.torso import TorsoTrainingConfig
from nerf_ad.training.train import AnyTrainConfig, TrainConfig

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

PAPER = PaperTrainConfig(
    preset="paper",
    model=PaperModelConfig(conditions=ConditionConfig(audio=AudioConfig(normalised=True))),
    nerf=NerfTrainingConfig(rays_at_once=256),
)
"""NeRF-AD with the paper's sizes and numbers, meant for a GPU. Features are normalised: no DeepSpeech's.

A step's rays go through in quarters, with the same gradients and less memory."""

_SMALL_CROP = 64

PAPER_SMALL = PaperTrainConfig(
    preset="paper-small",
    size=128,
    rests_faces=True,
    model=PaperModelConfig(
        conditions=ConditionConfig(
            audio=AudioConfig(normalised=True),
            fusion=FusionConfig(
                crop_size=_SMALL_CROP,
                encoder_widths=(12, 24, 32, 48),
                encoder_hidden=256,
                face_code_dim=64,
                gru_dim=256,
                seed_width=64,
                decoder_widths=(64, 48, 24, 12),
                output_width=8,
                start="scaled",
                sees_pose=True,
                paints_change=True,
                num_shapes=60,
            ),
        ),
        head=PaperHeadConfig(
            field=ConditionalNerfConfig(depth=4, width=96, again_after=2, colour_depth=1, colour_width=48),
            identity=IdentityConfig(
                reference_size=64,
                extractor_dim=16,
                feature_dim=16,
                offset_dims=(32, 16),
                largest_offset=1.5,
                ray_dim=8,
                slot_dim=16,
            ),
            face_dim=64,
            point_scale=10.0,
            samples_in_box=True,
            coarse_samples=12,
            fine_samples=16,
        ),
    ),
    mask=AuAttentionConfig(size=_SMALL_CROP, width=16, num_blocks=2),
    critic=CriticConfig(size=_SMALL_CROP, width=16, num_layers=4),
    attention=AttentionTrainingConfig(
        num_epochs=8,
        critic_steps=1,
        head_start=60,
        rate=1e-3,
        realness_weight=0.1,
        unit_weight=400.0,
        mask_weight=0.3,
        roughness_weight=2e-4,
    ),
    classifier=AuClassifierConfig(crop_size=_SMALL_CROP, block_widths=((16, 32), (32, 64)), hidden=(128, 64)),
    classifier_training=ClassifierTrainingConfig(num_steps=400, rate=1e-3),
    fusion=FusionTrainingConfig(
        num_steps=1000,
        rate=2e-3,
        au_weight=2e-4,
        smallest_slope=1e-15,
        steadies_mask=True,
        final_share=0.05,
        feature_noise=0.5,
        feature_dropout=0.3,
        weight_decay=0.1,
        validate_every=100,
        patience=6,
    ),
    nerf=NerfTrainingConfig(num_steps=6000, num_rays=512, rate=2e-3, decay_steps=4000, smooth_from=0),
)
"""The same three stages with smaller widths, fewer samples and 128x128 pixels.

Meant for two cores; not measured as a whole."""

FAST_AD = FastAdTrainConfig(
    preset="fast-ad",
    rests_faces=PAPER_SMALL.rests_faces,
    conditions=PAPER_SMALL.model.conditions,
    mask=PAPER_SMALL.mask,
    critic=PAPER_SMALL.critic,
    attention=PAPER_SMALL.attention,
    classifier=PAPER_SMALL.classifier,
    classifier_training=PAPER_SMALL.classifier_training,
    fusion=PAPER_SMALL.fusion,
    hearing=HearingConfig(feature_noise=0.5, feature_dropout=0.3),
    attention_share=0.2,
    fusion_share=0.2,
    torso_share=0.08,
)
"""NeRF-AD's mask and painted audio face, as small as in ``paper-small``, in front of the planes field."""

PRESETS: dict[str, AnyTrainConfig] = {
    "fast": FAST,
    "fast-ad": FAST_AD,
    "tiny": TINY,
    "paper": PAPER,
    "paper-small": PAPER_SMALL,
}


def as_row(config: PaperTrainConfig, row: Row) -> PaperTrainConfig:
    """One of the paper's comparisons with the sizes and numbers of a preset (paper.md sections 12 and 15)."""
    conditions = config.model.conditions
    heard = {"face_dim": 0, "audio_dim": conditions.audio.code_dim}
    deaf = {"face_dim": 0, "audio_dim": 0, "uses_references": False}
    match row:
        case "full":
            return _changed(config, row)
        case "no-au-loss":
            return _changed(config, row, fusion={"au_weight": 0.0})
        case "no-fusion-pretraining":
            # The usual face and its components are learnt from stage 2's targets: a head start. Left empty,
            # D would begin with zeros alone and never learn; painting whole faces, as in paper, it does.
            whole = {"conditions": {"fusion": {"paints_change": False, "num_shapes": 0}}}
            return _changed(config, row, pretrains_fusion=False, model=whole)
        case "no-audio-face":
            return _changed(config, row, model={"conditions": {"kind": "audio"}, "head": heard})
        case "no-disentanglement":
            return _changed(config, row, disentangles=False)
        case "dfrf":
            model = {"conditions": {"kind": "audio"}, "head": heard}
            return _changed(config, row, disentangles=False, model=model)
        case "ad-nerf-head":
            head = {**heard, "uses_references": False}
            return _changed(config, row, model={"conditions": {"kind": "audio"}, "head": head})
        case "geneface":
            head = {**deaf, "landmark_dim": conditions.landmarks.code_dim}
            return _changed(config, row, model={"conditions": {"kind": "landmarks"}, "head": head})
        case "nerf":
            return _changed(config, row, model={"conditions": {"kind": "nothing"}, "head": deaf})
        case _:
            assert_never(row)


def _changed(config: PaperTrainConfig, row: Row, **changes: Any) -> PaperTrainConfig:  # noqa: ANN401
    return PaperTrainConfig.model_validate(merged(config.model_dump(), {"row": row, **changes}))


ROWS: tuple[Row, ...] = get_args(Row)
"""Names of the comparisons."""
