"""Training frames in a GPU's memory, eight bytes a pixel, and rays drawn from them without the host.

Drawing by NumPy from files takes milliseconds a step, longer than a GPU's whole step (ours). Where a
clip does not fit into the given memory, a part of it is resident, and a thread reads the frames that take
the place of the oldest: every frame is seen, in turns.
"""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from nerf_ad.dataset.pixels import PixelCache, head_rim
from nerf_ad.dataset.sampler import DeviceRays, RaySamplingConfig, RaySource, patch_pixels
from nerf_ad.face.parsing import Part

BYTES = 8
"""Of a pixel: recorded red, green, blue; torso over plate; the torso's alpha; marks."""
HEAD, CERTAIN, NEAR = 1, 2, 4
"""Marks: head; parsing to be believed; in the head or in the rim around it."""
CHUNK = 8
"""Frames that are read and copied at once."""
TRIES = 8
"""Places in the head's box of which the first near the head is taken; all of them miss for one ray in 500
where the head fills half of its box (ours)."""
REFRESH_EVERY = 32
"""Steps between two chunks at least, so that copying them costs little."""


class Staging(NamedTuple):
    """Host memory of one chunk; page-locked where it goes to a GPU."""

    frames: UInt8[Tensor, "chunk size size 3"]
    torso: UInt8[Tensor, "chunk size size 4"]
    labels: UInt8[Tensor, "chunk size size"]


class ResidentFrames:
    """Training frames on a device."""

    def __init__(
        self,
        cache: PixelCache,
        backgrounds: Float[np.ndarray, "plates size size 3"],
        background_of: Int[np.ndarray, "frames"],
        *,
        train: range,
        boxes: Int[np.ndarray, "kinds frames 4"],
        device: torch.device,
        largest_bytes: int,
        seed: int = 0,
    ) -> None:
        """Read as many frames as fit.

        Args:
            cache: the dataset's pictures.
            backgrounds: clean plates in [0, 1].
            background_of: which of them each frame stands before.
            train: training frames.
            boxes: left, top, right, bottom around the mouth and around the eyes of every frame.
            device: where they are kept.
            largest_bytes: memory for them.
            seed: of the order in which frames are read that do not fit.
        """
        self.cache, self.device = cache, device
        self.size = cache.size
        self.num_pixels = cache.size**2
        num_slots = min(len(train), max(CHUNK, largest_bytes // (BYTES * self.num_pixels)))
        self.packed = torch.zeros(num_slots * self.num_pixels, dtype=torch.int64, device=device)
        self.frame_of = torch.zeros(num_slots, dtype=torch.int64, device=device)
        self.boxes = torch.zeros(num_slots, 3, 4, device=device)
        """Of mouth, eyes, and head with its rim; the last instead of one that is empty."""
        self.is_near = torch.zeros(num_slots, 3, dtype=torch.bool, device=device)
        """Whether only pixels near the head are wanted in that box."""
        self._plates = torch.from_numpy(backgrounds).to(device)
        self._background_of = background_of
        self._fixed_boxes = torch.from_numpy(boxes.transpose(1, 0, 2).astype(np.float32))
        self._order = train.start + np.random.default_rng(seed).permutation(len(train))
        self._num_read, self._num_resident, self._next_slot, self._waited = 0, 0, 0, 0
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="frames")
        self._reading: deque[tuple[np.ndarray, Staging, Future[None]]] = deque()
        for staging in (self._make_staging(), self._make_staging()):
            self._read_on(staging, None, num_slots)
        while self._num_resident < num_slots:
            self._take(num_slots)
        if self.is_whole:
            self._reader.shutdown(wait=False, cancel_futures=True)
            self._reading.clear()

    @property
    def num_slots(self) -> int:
        """Frames that are resident."""
        return len(self.frame_of)

    @property
    def is_whole(self) -> bool:
        """Whether all training frames are."""
        return self.num_slots == len(self._order)

    def refresh(self) -> None:
        """Once a step: let frames that were read meanwhile take the place of the oldest."""
        self._waited += 1
        if self._reading and self._waited >= REFRESH_EVERY and self._reading[0][2].done():
            self._waited = 0
            self._take(None)

    def pictures(
        self, slots: Int[Tensor, "batch"]
    ) -> tuple[UInt8[Tensor, "batch size size 8"], Int[Tensor, "batch"]]:
        """All bytes of whole frames, and which frames they are."""
        whole = self.packed.view(self.num_slots, self.num_pixels).index_select(0, slots)
        return whole.view(torch.uint8).view(-1, self.size, self.size, BYTES), self.frame_of[slots]

    def _make_staging(self) -> Staging:
        shape = (CHUNK, self.size, self.size)
        is_pinned = self.device.type == "cuda"
        return Staging(
            torch.empty(*shape, 3, dtype=torch.uint8, pin_memory=is_pinned),
            torch.empty(*shape, 4, dtype=torch.uint8, pin_memory=is_pinned),
            torch.empty(*shape, dtype=torch.uint8, pin_memory=is_pinned),
        )

    def _read_on(self, staging: Staging, copied: "torch.cuda.Event | None", until: int | None) -> None:
        """Have the next frames read into ``staging`` once its last copy is done; no more than ``until``."""
        count = CHUNK if until is None else min(CHUNK, until - self._num_read)
        if count <= 0:
            if self.is_whole:
                return
            count = CHUNK
        which = np.take(self._order, np.arange(self._num_read, self._num_read + count), mode="wrap")
        self._num_read += count

        def read() -> None:
            if copied is not None:
                copied.synchronize()
            for place, frame in enumerate(which):
                files = (self.cache.frames, self.cache.torso, self.cache.labels)
                for file, kept in zip(files, staging, strict=True):
                    file.read_into(int(frame), kept[place].numpy())

        self._reading.append((which, staging, self._reader.submit(read)))

    @torch.no_grad()
    def _take(self, until: int | None) -> None:
        """Copy the oldest chunk that is being read to the device, in place of the oldest frames."""
        which, staging, reading = self._reading.popleft()
        reading.result()
        raw = Staging(*(kept[: len(which)].to(self.device, non_blocking=True) for kept in staging))
        plate = torch.from_numpy(self._background_of[which]).to(self.device, non_blocking=True)
        copied = None
        if self.device.type == "cuda":
            copied = torch.cuda.Event()
            copied.record()
        packed, near = pack_frames(raw, self._plates[plate])
        self._read_on(staging, copied, until)  # only now: on a CPU nothing was copied yet
        fixed = self._fixed_boxes[which].to(self.device, non_blocking=True)
        boxes, is_near = choose_boxes(fixed, near)
        slots = [(self._next_slot + place) % self.num_slots for place in range(len(which))]
        where = torch.tensor(slots).to(self.device, non_blocking=True)
        frames = torch.from_numpy(which).to(self.device, non_blocking=True)
        self.packed.view(self.num_slots, -1).index_copy_(0, where, packed)
        self.frame_of.index_copy_(0, where, frames)
        self.boxes.index_copy_(0, where, boxes)
        self.is_near.index_copy_(0, where, is_near)
        self._next_slot = (slots[-1] + 1) % self.num_slots
        self._num_resident = min(self.num_slots, self._num_resident + len(which))


def pack_frames(
    raw: Staging, plates: Float[Tensor, "chunk size size 3"]
) -> tuple[Int[Tensor, "chunk pixels"], Float[Tensor, "chunk 4"]]:
    """Eight bytes of every pixel as one number, and the box around what is near the head."""
    alpha = raw.torso[..., 3:].float() / 255
    behind = raw.torso[..., :3].float() * alpha + (1 - alpha) * (255 * plates)
    head = raw.labels == Part.HEAD
    wide = F.pad(head.unsqueeze(1).float(), (2, 2, 2, 2), mode="replicate").squeeze(1) > 0
    around = (wide[:, :-4, 2:-2], wide[:, 4:, 2:-2], wide[:, 2:-2, :-4], wide[:, 2:-2, 4:])
    certain = torch.stack([neighbour == head for neighbour in around]).all(dim=0)
    near = _widened(head, head_rim(head.shape[-1]))
    marks = HEAD * head.byte() + CERTAIN * certain.byte() + NEAR * near.byte()
    parts = (raw.frames, behind.round().clamp(0, 255).byte(), raw.torso[..., 3:], marks.unsqueeze(-1))
    whole = torch.cat(parts, dim=-1)
    return whole.view(torch.int64).flatten(1), _box_around(near)


def _widened(mask: Tensor, reach: int) -> Tensor:
    """Pixels within ``reach`` rows and columns of the mask's."""
    rows = F.max_pool2d(mask.unsqueeze(1).float(), (2 * reach + 1, 1), stride=1, padding=(reach, 0))
    return F.max_pool2d(rows, (1, 2 * reach + 1), stride=1, padding=(0, reach)).squeeze(1) > 0


def _box_around(mask: Tensor) -> Float[Tensor, "chunk 4"]:
    """Left, top, right, bottom around the pixels of masks; the whole picture around none."""
    size = mask.shape[-1]
    index = torch.arange(size, device=mask.device)
    ends = []
    for axis in (1, 2):  # which columns, which rows
        has = mask.any(dim=axis)
        ends.append((torch.where(has, index, size).amin(dim=1), torch.where(has, index + 1, 0).amax(dim=1)))
    (left, right), (top, bottom) = ends
    box = torch.stack([left, top, right, bottom], dim=1).float()
    whole = torch.tensor([0.0, 0.0, size, size]).to(mask.device, non_blocking=True)
    return torch.where((right > left).unsqueeze(1), box, whole)


def choose_boxes(
    fixed: Float[Tensor, "chunk 2 4"], near: Float[Tensor, "chunk 4"]
) -> tuple[Float[Tensor, "chunk 3 4"], Tensor]:
    """Boxes of mouth, eyes and head, the head's where one is empty; and which of them are the head's."""
    is_empty = (fixed[..., 2] <= fixed[..., 0]) | (fixed[..., 3] <= fixed[..., 1])
    of_head = near.unsqueeze(1)
    boxes = torch.cat([torch.where(is_empty.unsqueeze(-1), of_head, fixed), of_head], dim=1)
    return boxes, torch.cat([is_empty, torch.ones_like(is_empty[:, :1])], dim=1)


class ResidentRays(RaySource):
    """``RaySampler`` on the device: the same distribution, from the frames that are resident."""

    def __init__(self, config: RaySamplingConfig, frames: ResidentFrames, generator: torch.Generator) -> None:
        """Take the frames and the device's generator, which alone decides what is drawn."""
        self.frames, self.generator = frames, generator
        self.num_frames = config.num_frames
        self.patch_size, self.patch_mouth_share = config.patch_size, config.patch_mouth_share
        per_frame = config.num_rays // config.num_frames
        num_mouth, num_eyes = (int(per_frame * share) for share in (config.mouth_share, config.eye_share))
        kind = torch.full((per_frame,), 2)
        kind[:num_mouth] = 0
        kind[num_mouth : num_mouth + num_eyes] = 1
        self.kind = kind.repeat(config.num_frames).to(frames.device)
        self.slot = torch.arange(config.num_frames).repeat_interleave(per_frame).to(frames.device)

    def refresh(self) -> None:
        """Bring in frames that were read meanwhile."""
        self.frames.refresh()

    def draw(self, *, with_patch: bool = False) -> DeviceRays:
        """One step's rays; waits for nothing, and may be captured in a CUDA graph."""
        store, draw = self.frames, self.generator
        if store.num_slots < self.num_frames:
            chosen = torch.randint(store.num_slots, (self.num_frames,), generator=draw, device=draw.device)
        else:
            order = torch.rand(store.num_slots, generator=draw, device=draw.device)
            chosen = order.topk(self.num_frames, sorted=False).indices
        kept = chosen.index_select(0, self.slot)
        which = 3 * kept + self.kind
        box = store.boxes.view(-1, 4).index_select(0, which).unsqueeze(1)
        share = torch.rand(len(kept), TRIES, 2, generator=draw, device=draw.device)
        span = box[..., 2:] - box[..., :2]
        # A share of almost 1 of a span could be rounded up to the span itself.
        place = (box[..., :2] + (share * span).floor().minimum(span - 1)).long()
        flat = kept.unsqueeze(1) * store.num_pixels + place[..., 1] * store.size + place[..., 0]
        marks = store.packed.view(torch.uint8).view(-1, BYTES)[:, -1]
        is_near = (marks[flat] & NEAR) > 0
        taken = is_near.float().argmax(dim=1)
        taken = (taken * store.is_near.view(-1).index_select(0, which)).unsqueeze(1)
        flat = flat.gather(1, taken).squeeze(1)
        place = place.gather(1, taken.unsqueeze(-1).expand(-1, -1, 2)).squeeze(1)
        slot = self.slot
        if with_patch:
            # Which of the chosen ones is drawn too: ``topk`` gives them in no order that could be relied on.
            where = torch.randint(self.num_frames, (1,), generator=draw, device=draw.device)
            frame = chosen.index_select(0, where)
            square = self._patch(frame)
            corner = torch.stack([square % store.size, square.div(store.size, rounding_mode="floor")], dim=1)
            place, flat = (
                torch.cat([place, corner]),
                torch.cat([flat, frame * store.num_pixels + square]),
            )
            slot = torch.cat([slot, where.expand_as(square)])
        whole = store.packed.index_select(0, flat).view(torch.uint8).view(-1, BYTES)
        colours = whole[:, :6].float() / 255
        marks = whole[:, 7]
        return DeviceRays(
            store.frame_of.index_select(0, chosen),
            slot,
            place.float() + 0.5,
            colours[:, :3],
            colours[:, 3:],
            (marks & HEAD).float(),
            ((marks & CERTAIN) > 0).float(),
        )

    def _patch(self, kept: Int[Tensor, "1"]) -> Int[Tensor, "pixels"]:
        """Pixels of a square at the mouth or the eyes of a resident frame."""
        store, draw = self.frames, self.generator
        share = torch.rand(3, generator=draw, device=draw.device)
        kind = (share[2:] >= self.patch_mouth_share).long()
        box = store.boxes.view(-1, 4).index_select(0, 3 * kept + kind).squeeze(0)
        return patch_pixels(box, share[:2], self.patch_size, store.size)
