"""A whole training of the paper's method, its ablations and its rivals."""

from abc import ABC, abstractmethod
from typing import Literal, assert_never

from pydantic import Field, model_validator

from nerf_ad.core.config import Config
from nerf_ad.models.paper.au_attention import AuAttentionConfig
from nerf_ad.models.paper.au_classifier import AuClassifierConfig
from nerf_ad.models.paper.conditions import ConditionConfig, PaperModelConfig
from nerf_ad.models.paper.critic import CriticConfig
from nerf_ad.speech.encoder import SpeechConfig, WhisperConfig
from nerf_ad.training.paper.attention import AttentionTrainingConfig
from nerf_ad.training.paper.classifiers import ClassifierTrainingConfig
from nerf_ad.training.paper.fusion import FusionTrainingConfig
from nerf_ad.training.paper.nerf_config import NerfTrainingConfig

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
SharedStage = Literal["attention", "classifiers", "fusion"]
"""Stages that several rows may have in common."""


class FacePartsConfig(Config, ABC):
    """Stages 1 and 2: what parts faces and paints them, in front of either field."""

    preset: str
    """Name that it started from."""
    speech: SpeechConfig = WhisperConfig()
    """Which speech features of the data set are used; log-mel where they are Whisper's and absent. The
    paper's are DeepSpeech's logits, whose weights nobody may pass on (paper.md section 3)."""
    disentangles: bool = True
    """Whether the mask parts faces; off, it counts as 1 for the references, and E_a reads and D paints the
    whole face (paper.md section 12)."""
    pretrains_fusion: bool = True
    """Whether stage 2 teaches the audio face; off, E_a, GRU and D learn from the picture (section 12). The
    row also paints whole faces: what ``paints_change`` begins with is learnt from stage 2's targets."""
    rests_faces: bool = False
    """Whether audio faces are turned upright and shifted to one place before they are learnt: speech cannot
    know how the head is held (ours; NeRF-AD's code does it in training only, without the mask)."""
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
    attention_share: float = Field(default=0.3, gt=0, lt=1)
    """Part of a time budget for stage 1 (ours)."""
    fusion_share: float = Field(default=0.25, gt=0, lt=1)
    """Part of a time budget for stage 2; what comes after has what is left (ours)."""
    seed: int = 0
    """Seed of everything random."""

    @property
    @abstractmethod
    def speech_networks(self) -> ConditionConfig:
        """The networks between speech and field."""

    @property
    def needs_faces(self) -> bool:
        """Whether audio faces are painted."""
        return self.speech_networks.kind == "audio-face"

    @property
    def needs_mask(self) -> bool:
        """Whether anything is parted by the mask."""
        return self.disentangles and self.needs_faces

    @property
    def needs_fusion(self) -> bool:
        """Whether there is a stage 2."""
        return self.needs_faces and self.pretrains_fusion

    @property
    def needs_classifiers(self) -> bool:
        """Whether stage 2 is judged by action units."""
        return self.needs_fusion and self.fusion.au_weight > 0

    def stage_facts(self, stage: SharedStage) -> dict[str, object]:
        """The choices that a stage's result follows from, those of the stages before it included.

        How far those stages came is not among them: ``Workshop`` adds digests of their results.
        """
        conditions = self.speech_networks
        masked = (
            {"mask": self.mask, "critic": self.critic, "attention": self.attention} if self.needs_mask else {}
        )
        painted = {"rests_faces": self.rests_faces, "validation_share": self.fusion.validation_share}
        painted |= {"steadies_mask": self.fusion.steadies_mask}
        judged = {"classifier": self.classifier, "classifier_training": self.classifier_training}
        heard = {
            "fusion": self.fusion,
            "audio": conditions.audio,
            "face": conditions.fusion,
            "speech": self.speech,
        }
        facts: dict[str, object] = {"seed": self.seed}
        match stage:
            case "attention":
                facts |= masked
            case "classifiers":
                facts |= {**masked, **painted, **judged}
            case "fusion":
                facts |= {**masked, **painted, **(judged if self.needs_classifiers else {}), **heard}
            case _:
                assert_never(stage)
        return {
            name: value.model_dump(mode="json") if isinstance(value, Config) else value
            for name, value in facts.items()
        }

    @model_validator(mode="after")
    def _fits(self) -> "FacePartsConfig":
        crops = {
            "mask.size": self.mask.size,
            "critic.size": self.critic.size,
            "classifier.crop_size": self.classifier.crop_size,
            "conditions.fusion.crop_size": self.speech_networks.fusion.crop_size,
        }
        if len(set(crops.values())) > 1:
            told = ", ".join(f"{name} {value}" for name, value in crops.items())
            message = f"all parts must see face crops of one size: {told}"
            raise ValueError(message)
        return self


class PaperTrainConfig(FacePartsConfig):
    """What is built, and one part for each stage. The defaults are the paper's."""

    row: Row = "full"
    """Which of the paper's comparisons it is (paper.md section 12); ``nerf_ad.presets.as_row`` sets it."""
    size: int | None = Field(default=None, ge=32, le=2048)
    """Width and height of the frames in pixels; the data set's where absent, and never more than that."""
    model: PaperModelConfig = PaperModelConfig()
    """What the avatar consists of."""
    nerf: NerfTrainingConfig = NerfTrainingConfig()
    """Stage 3."""

    @property
    def speech_networks(self) -> ConditionConfig:
        """The networks between speech and fields."""
        return self.model.conditions

    @property
    def needs_mask(self) -> bool:
        """Whether anything is parted by the mask: audio faces, or the references."""
        return self.disentangles and (self.needs_faces or self.model.head.uses_references)
