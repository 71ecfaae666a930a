"""The head's kernels: in Triton's interpreter against plain PyTorch, and compiled for an absent GPU.

Triton decides at its import whether it interprets, so both run in processes of their own.
"""

from pathlib import Path

import pytest
import torch
from tests.kernels.own_process import needs_triton, run_cases

from nerf_ad.models.frame_renderer import can_render
from nerf_ad.models.talking_head import TalkingHead, TalkingHeadConfig


@needs_triton
def test_the_kernels_equal_plain_pytorch_in_the_interpreter() -> None:
    run_cases("head_render_cases.py", TRITON_INTERPRET="1")


@needs_triton
def test_the_kernels_compile_for_hopper(tmp_path: Path) -> None:
    run_cases("head_render_build.py", TRITON_CACHE_DIR=str(tmp_path))


def test_a_cpu_is_left_to_plain_pytorch() -> None:
    assert not can_render(TalkingHead(TalkingHeadConfig(grid_resolution=8), size=8))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_draws_what_plain_pytorch_draws() -> None:
    from tests.kernels.head_render_cases import make_condition, make_head, make_poses, reference

    from nerf_ad.models.fields.planes import PlaneFieldConfig
    from nerf_ad.models.frame_renderer import FrameRenderer, Frames

    model = make_head(64, field=PlaneFieldConfig(resolutions=(16, 32, 64))).cuda()
    model.planes.encoding.uses_kernels = False
    mouth, eyes, _ = make_condition(3)
    frames = Frames(make_condition()._replace(mouth=mouth.cuda(), eyes=eyes.cuda()), make_poses(3).cuda())
    wanted = reference(model, frames)
    renderer = FrameRenderer(model)
    for drawn in (FrameRenderer(model, graphs=False).draw(frames), renderer.draw(frames)):
        # A sample on the border of a cell may be there in one and not in the other: its ray alone differs.
        differs = (drawn - wanted).abs().amax(dim=-1) > 2 / 255
        assert float(differs.float().mean()) < 1e-3
    again = frames._replace(camera_to_world=frames.camera_to_world.flip(0))
    one_by_one = FrameRenderer(model, graphs=False).draw(again)
    torch.testing.assert_close(renderer.draw(again), one_by_one, atol=0, rtol=0)  # replayed with new input
    assert renderer.graphs  # recorded, not fallen back
