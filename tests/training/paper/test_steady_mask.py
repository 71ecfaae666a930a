"""One mask for all frames, against the mean and the product written out."""

import numpy as np
import torch

from nerf_ad.training.paper.steady_mask import collect_steady_faces, speech_region

SIZE, NUM_FRAMES = 32, 5
STILL = torch.tensor([[1.0, 0, 0], [0, 1, 0]]).expand(NUM_FRAMES, -1, -1)


def random_bytes(channels: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(channels)
    return torch.randint(0, 256, (NUM_FRAMES, channels, SIZE, SIZE), generator=generator, dtype=torch.uint8)


def steady(
    faces: torch.Tensor, region: torch.Tensor, moves: torch.Tensor | None, batch_size: int
) -> torch.Tensor:
    events = collect_steady_faces(
        lambda frames: faces[torch.from_numpy(np.asarray(frames))].float() / 255,
        region,
        moves,
        num_frames=NUM_FRAMES,
        batch_size=batch_size,
    )
    while True:
        try:
            next(events)
        except StopIteration as end:
            made: torch.Tensor = end.value
            return made


def test_the_region_is_the_mean_of_what_the_masks_leave() -> None:
    masks = random_bytes(1)
    wanted = 1 - masks.numpy().astype(np.float64).mean(axis=0) / 255
    for moves in (None, STILL):
        found = speech_region(masks, moves, batch_size=2)
        np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)


def test_a_shifted_mask_is_shifted_back_first() -> None:
    """Masks that move with the face, by whole pixels, leave a sharp region at rest."""
    shifts = [-2, -1, 0, 1, 2]
    masks = torch.full((NUM_FRAMES, 1, SIZE, SIZE), 255, dtype=torch.uint8)
    moves = STILL.clone()
    for frame, shift in enumerate(shifts):
        masks[frame, :, 10:20, 12 + shift : 22 + shift] = 0
        moves[frame, 0, 2] = 2 * shift / SIZE
    found = speech_region(masks, moves)
    wanted = torch.zeros(1, SIZE, SIZE)
    wanted[:, 10:20, 12:22] = 1
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def test_every_face_is_cut_out_with_the_same_region() -> None:
    faces, region = random_bytes(3), torch.rand(1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    wanted = np.round(faces.numpy() * region.numpy()[None])
    found = steady(faces, region, None, batch_size=2)
    assert np.abs(found.numpy() - wanted).max() <= 1
    moved = torch.tensor([[1.0, 0, 2 / SIZE], [0, 1, 0]]).expand(NUM_FRAMES, -1, -1)
    shifted = np.zeros_like(faces.numpy())
    shifted[..., :-1] = faces.numpy()[..., 1:]
    found = steady(faces, region, moved, batch_size=3)
    assert np.abs(found.numpy() - np.round(shifted * region.numpy()[None])).max() <= 1
