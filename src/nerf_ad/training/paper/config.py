"""A whole training of the paper's method, its ablations and its rivals."""

from typing import Literal

from pydantic import Field, model_validator

from nerf_ad.core.config import Config
from nerf_ad.models.paper.au_attention import AuAttentionConfig
from nerf_ad.models.paper.au_classifier import AuClassifierConfig
from nerf_ad.models.paper.conditions import PaperModelConfig
from nerf_ad.models.paper.critic import CriticConfig
from nerf_ad.speech.encoder import SpeechConfig, WhisperConfig
from nerf_ad.training.paper.attention import AttentionTrainingConfig
from nerf_ad.training.paper.classifiers import ClassifierTrainingConfig
from nerf_ad.training.paper.fusion import FusionTrainingConfig
from nerf_ad.training.paper.nerf import NerfTrainingConfig

Row = Literal[
    "full",
    "no-au-loss",
    "no-fusion-pretraining",
    "no-audio-face",
    "no-disentanglement",
    "dfrf",
    "ad-nerf-head",
    "geneface",
    "nerf",
]
"""The paper's method (``full``), its ablations and its rivals, as configurations of the same parts."""


class PaperTrainConfig(Config):
    """What is built, and one part for each stage. The defaults are the paper's."""

    preset: str
    """Name that it started from."""
    row: Row = "full"
    """Which of the paper's comparisons it is (paper.md section 12); ``nerf_ad.presets.as_row`` sets it."""
    size: int | None = Field(default=None, ge=32, le=2048)
    """Width and height of the frames in pixels; the data set's where absent, and never more than that."""
    speech: SpeechConfig = WhisperConfig()
    """Which speech features of the data set are used; log-mel where these are absent. The paper's are
    DeepSpeech's logits, whose weights nobody may pass on (paper.md section 3)."""
    disentangles: bool = True
    """Whether the mask parts faces; off, it counts as 1 for the references, and E_a reads and D paints the
    whole face (paper.md section 12)."""
    pretrains_fusion: bool = True
    """Whether stage 2 teaches the audio face; off, E_a, GRU and D learn from the picture (section 12)."""
    rests_faces: bool = False
    """Whether audio faces are turned upright and shifted to one place before they are learnt: speech cannot
    know how the head is held (ours; NeRF-AD's code does it in training only, without the mask)."""
    model: PaperModelConfig = PaperModelConfig()
    """What the avatar consists of."""
    mask: AuAttentionConfig = AuAttentionConfig()
    """G_M and G_W."""
    critic: CriticConfig = CriticConfig()
    """The critic of stage 1."""
    attention: AttentionTrainingConfig = AttentionTrainingConfig()
    """Stage 1."""
    classifier: AuClassifierConfig = AuClassifierConfig()
    """The action unit classifiers that stage 2 is judged by."""
    classifier_training: ClassifierTrainingConfig = ClassifierTrainingConfig()
    """Their training, before stage 2."""
    fusion: FusionTrainingConfig = FusionTrainingConfig()
    """Stage 2."""
    nerf: NerfTrainingConfig = NerfTrainingConfig()
    """Stage 3."""
    attention_share: float = Field(default=0.3, gt=0, lt=1)
    """Part of a time budget for stage 1 (ours)."""
    fusion_share: float = Field(default=0.25, gt=0, lt=1)
    """Part of a time budget for stage 2; stage 3 has what is left (ours)."""
    seed: int = 0
    """Seed of everything random."""

    @property
    def needs_faces(self) -> bool:
        """Whether audio faces are painted."""
        return self.model.conditions.kind == "audio-face"

    @property
    def needs_mask(self) -> bool:
        """Whether anything is parted by the mask."""
        return self.disentangles and (self.needs_faces or self.model.head.uses_references)

    @property
    def needs_fusion(self) -> bool:
        """Whether there is a stage 2."""
        return self.needs_faces and self.pretrains_fusion

    @property
    def needs_classifiers(self) -> bool:
        """Whether stage 2 is judged by action units."""
        return self.needs_fusion and self.fusion.au_weight > 0

    @model_validator(mode="after")
    def _fits(self) -> "PaperTrainConfig":
        crops = {
            "mask.size": self.mask.size,
            "critic.size": self.critic.size,
            "classifier.crop_size": self.classifier.crop_size,
            "model.conditions.fusion.crop_size": self.model.conditions.fusion.crop_size,
        }
        if len(set(crops.values())) > 1:
            told = ", ".join(f"{name} {value}" for name, value in crops.items())
            message = f"all parts must see face crops of one size: {told}"
            raise ValueError(message)
        return self
