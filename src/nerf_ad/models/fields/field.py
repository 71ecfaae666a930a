"""The choice of a head's radiance field."""

from typing import Annotated, Literal, assert_never

from pydantic import Field

from nerf_ad.models.fields.hashed_planes import HashedPlaneFieldConfig, HashedPlanes
from nerf_ad.models.fields.planes import PlaneFieldConfig, Radiance

AnyFieldConfig = PlaneFieldConfig | HashedPlaneFieldConfig
FieldConfig = Annotated[AnyFieldConfig, Field(discriminator="kind")]
FieldKind = Literal["planes", "hashed-planes"]
"""The kinds of all of them."""
RadianceField = Radiance | HashedPlanes
"""Called with points, condition, directions and rays, it gives density and colour; see ``Radiance``."""


def build_field(config: AnyFieldConfig, *, mouth_dim: int, eye_dim: int) -> RadianceField:
    """An untrained field for conditions of so many numbers."""
    match config:
        case PlaneFieldConfig():
            return Radiance(config, condition_dim=mouth_dim + eye_dim)
        case HashedPlaneFieldConfig():
            return HashedPlanes(config, mouth_dim=mouth_dim, eye_dim=eye_dim)
        case _:
            assert_never(config)
