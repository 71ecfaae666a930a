"""The row that ``benchmarks/quality.py`` calls an AD-NeRF-size field is one, and none of NeRF-AD's stages."""

from nerf_ad.presets import PAPER, as_row


def test_the_row_has_ad_nerfs_sizes_and_none_of_nerf_ads_stages() -> None:
    row = as_row(PAPER, "ad-nerf-head")
    head, field = row.model.head, row.model.head.field
    assert (field.depth, field.width, field.again_after) == (8, 256, 5)
    assert (field.colour_depth, field.colour_width) == (3, 128)
    assert (head.coarse_samples, head.fine_samples) == (64, 128)
    assert (head.point_frequencies, head.direction_frequencies, head.point_scale) == (10, 4, 1.0)
    assert (head.audio_dim, head.face_dim, head.landmark_dim) == (64, 0, 0)
    assert not head.uses_references
    assert not head.samples_in_box
    assert (row.nerf.rate, row.nerf.face_share) == (5e-4, 0.95)
    assert [row.needs_faces, row.needs_mask, row.needs_fusion, row.needs_classifiers] == 4 * [False]
