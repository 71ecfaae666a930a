"""Writes the report: what capture made of the clip, so that a person can judge it at a glance."""

from collections.abc import Generator, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from nerf_ad.capture.audio import AvOffset
from nerf_ad.capture.complaints import Complaint
from nerf_ad.capture.report.contact_sheet import contact_sheet, draw_points, lay_over, tint_parts
from nerf_ad.capture.report.curves import draw_correlation, draw_series
from nerf_ad.capture.report.page import Figure, Section, Table, page
from nerf_ad.core.events import Event, Progress
from nerf_ad.core.files import write_bytes, write_text
from nerf_ad.dataset.dataset import Dataset, LandmarkTrack, Tracking
from nerf_ad.face.action_units import mouth_opening
from nerf_ad.face.landmarks import FACE_OVAL, INNER_LIPS, LEFT_EYE, OUTER_LIPS, RIGHT_EYE
from nerf_ad.face.parsing import PALETTE
from nerf_ad.geometry.camera import Intrinsics, project
from nerf_ad.geometry.rotations import euler_from_matrix
from nerf_ad.media.audio import Waveform
from nerf_ad.media.images import write_image

NUM_COLUMNS = 8
MAX_OFFSET_MS = 40.0
"""Beyond this people see that sound and lips differ (ecosystem.md: 45 ms)."""
MAX_ERROR = 2.0
"""Pixels of a 512x512 frame: what the tracker should reach."""
MAX_ROWS = 200
"""Complaints shown; the rest is in complaints.json."""
_RGB_PALETTE = ((30, 30, 34), *PALETTE[1:])


def write_report(
    dataset: Dataset,
    waveform: Waveform,
    synchrony: AvOffset,
    complaints: Sequence[Complaint],
) -> Generator[Event, None, None]:
    """Write ``report/index.html`` and its pictures.

    Args:
        dataset: all of its other parts must be there.
        waveform: its sound.
        synchrony: how mouth and sound go together at every offset.
        complaints: what is wrong, by frame.
    """
    folder, manifest = dataset.layout.report, dataset.manifest
    landmarks, tracking = dataset.landmarks(), dataset.tracking()
    frames = [
        int(frame) for frame in np.linspace(0, dataset.num_frames - 1, min(NUM_COLUMNS, dataset.num_frames))
    ]
    total = len(frames) + 5
    rows: dict[str, list[UInt8[np.ndarray, "height width 3"]]] = {
        name: [] for name in ("frame", "landmarks", "rigid head", "parts", "torso", "torso alpha")
    }
    for done, frame in enumerate(frames):
        plate = dataset.background(dataset.shot_of(frame))
        for name, picture in _column(dataset, frame, plate, landmarks, tracking).items():
            rows[name].append(picture)
        yield Progress(stage="report", done=done + 1, total=total)
    captions = [f"frame {frame}  {frame / manifest.fps:.1f} s" for frame in frames]
    write_image(folder / "sheet.png", contact_sheet(list(rows.items()), captions))
    write_image(folder / "plate.png", dataset.background())
    yield Progress(stage="report", done=total - 4, total=total)

    seconds = np.arange(dataset.num_frames) / manifest.fps
    marks = [shot / manifest.fps for shot in manifest.shots[1:]]
    test = dataset.split().test
    shade = (test.start / manifest.fps, max(test.stop - 1, test.start) / manifest.fps)
    write_bytes(folder / "pose.png", draw_series(seconds, _pose_panels(tracking), marks=marks, shade=shade))
    yield Progress(stage="report", done=total - 3, total=total)
    units = dataset.action_units()
    panels = [(name, {name: units.intensity[:, index]}) for index, name in enumerate(units.names)]
    write_bytes(
        folder / "action_units.png", draw_series(seconds, panels, marks=marks, shade=shade, height=0.75)
    )
    yield Progress(stage="report", done=total - 2, total=total)
    mouth = mouth_opening(landmarks.points)
    energy = speech_energy(waveform, manifest.fps, dataset.num_frames)
    write_bytes(folder / "mouth.png", _mouth_curves(seconds, mouth, energy, marks))
    offset = draw_correlation(
        np.array(synchrony.lags_ms), np.array(synchrony.correlations), synchrony.milliseconds
    )
    write_bytes(folder / "offset.png", offset)
    error = {"pixels": tracking.reprojection_error}
    write_bytes(folder / "error.png", draw_series(seconds, [("px", error)], marks=marks, shade=shade))
    yield Progress(stage="report", done=total - 1, total=total)
    write_text(folder / "index.html", _page(dataset, complaints))
    yield Progress(stage="report", done=total, total=total)


def speech_energy(waveform: Waveform, fps: int, num_frames: int) -> Float[np.ndarray, "frames"]:
    """Loudness of the sound during every frame in decibels of full scale, not below -60."""
    edges = np.round(np.arange(num_frames + 1) * waveform.rate / fps).astype(int)
    power = np.concatenate([[0.0], np.cumsum(waveform.samples.astype(np.float64) ** 2)])
    edges = np.minimum(edges, len(waveform.samples))
    mean = np.diff(power[edges]) / np.maximum(np.diff(edges), 1)
    return np.asarray(np.maximum(10 * np.log10(np.maximum(mean, 1e-12)), -60.0))


def _column(
    dataset: Dataset,
    frame: int,
    plate: UInt8[np.ndarray, "height width 3"],
    landmarks: LandmarkTrack,
    tracking: Tracking,
) -> dict[str, UInt8[np.ndarray, "height width 3"]]:
    picture, labels, torso = dataset.frame(frame), dataset.labels(frame), dataset.torso(frame)
    points = landmarks.points[frame, :, :2]
    radius = max(dataset.size / 300, 0.8)
    marked = draw_points(picture, points, colour=(120, 220, 255), radius=radius * 0.6)
    outline = points[[*FACE_OVAL, *OUTER_LIPS, *INNER_LIPS, *LEFT_EYE, *RIGHT_EYE]]
    marked = draw_points(marked, outline, colour=(255, 90, 60), radius=radius * 0.8)
    intrinsics = Intrinsics.from_array(tracking.intrinsics)
    head = project(tracking.head_points, tracking.camera_to_world[frame], intrinsics).pixels
    rigid = draw_points(picture, points[tracking.point_indices], colour=(60, 220, 90), radius=radius)
    rigid = draw_points(rigid, head, colour=(255, 60, 200), radius=radius * 0.7)
    return {
        "frame": picture,
        "landmarks": marked,
        "rigid head": rigid,
        "parts": tint_parts(picture, labels, _RGB_PALETTE),
        "torso": lay_over(torso, plate),
        "torso alpha": np.repeat(torso[..., 3:], 3, axis=-1),
    }


def _pose_panels(tracking: Tracking) -> list[tuple[str, dict[str, Float[np.ndarray, "frames"]]]]:
    """The head seen from a camera at rest: degrees, and centimetres from the clip's mean."""
    pose = tracking.camera_to_world.astype(np.float64)
    rotation = np.swapaxes(pose[:, :3, :3], 1, 2)
    place = -np.einsum("fij,fj->fi", rotation, pose[:, :3, 3])
    angles = np.rad2deg(euler_from_matrix(rotation))
    moved = 100 * (place - place.mean(axis=0))
    return [
        ("degrees", {name: angles[:, axis] for axis, name in enumerate(("yaw", "pitch", "roll"))}),
        ("cm", {name: moved[:, axis] for axis, name in enumerate(("right", "up", "towards camera"))}),
    ]


def _mouth_curves(
    seconds: Float[np.ndarray, "frames"],
    mouth: Float[np.ndarray, "frames"],
    energy: Float[np.ndarray, "frames"],
    marks: Sequence[float],
) -> bytes:
    panels = [("mouth opening", {"lip gap / eye distance": mouth}), ("dB", {"speech energy": energy})]
    return draw_series(seconds, panels, marks=marks)


def _page(dataset: Dataset, complaints: Sequence[Complaint]) -> str:
    manifest, source = dataset.manifest, dataset.manifest.source
    crop = "whole picture"
    if source.crop is not None:
        left, top, side = source.crop
        crop = f"cropped to {side}x{side} at ({left}, {top})"
    lead = (
        f"{source.name}: {source.width}x{source.height} at {source.fps:.3g} fps, {source.seconds:.1f} s; "
        f"{crop}; "
        f"{manifest.num_frames} frames of {manifest.size}x{manifest.size} at {manifest.fps} fps"
    )
    shown = [
        (_where(complaint), complaint.severity, complaint.fault, complaint.advice)
        for complaint in complaints[:MAX_ROWS]
    ]
    more = f" The first {MAX_ROWS}; the rest is in complaints.json." if len(complaints) > MAX_ROWS else ""
    steps = [
        (name, f"{record.seconds:.1f}", f"{record.version}", record.extractor or "", record.finished_at)
        for name, record in manifest.steps.items()
    ]
    synchrony = [
        ("mouth.png", "mouth opening and speech energy over time"),
        ("offset.png", "correlation of mouth and sound over their offset"),
    ]
    cuts = ", ".join(str(shot) for shot in manifest.shots[1:]) or "none"
    sections = [
        Section("What is wrong", f"{len(complaints)} complaints.{more}" if complaints else "",
                table=Table(("frames", "how bad", "fault", "advice"), shown, empty="Nothing found.")),
        Section("Contact sheet", "Rigid head: landmarks in green, the fitted head in pink; they should meet.",
                [("sheet.png", "frames, landmarks, rigid head, parts, torso")]),
        Section("Background", "The clean plate; what was never seen is filled in.",
                [("plate.png", "clean plate")]),
        Section("Head pose", f"Cuts at frames: {cuts}. The held-out tail is grey.",
                [("pose.png", "head pose over time"), ("error.png", "reprojection error over time")]),
        Section("Action units", "In [0, 1], the person's neutral subtracted.",
                [("action_units.png", "action units over time")]),
        Section("Mouth and sound", pictures=synchrony),
        Section("Steps", table=Table(("step", "seconds", "version", "extractor", "finished"), steps,
                                     numeric=("seconds", "version"))),
    ]  # fmt: skip
    return page(f"Capture report: {dataset.root.name}", lead, _figures(dataset), sections)


def _figures(dataset: Dataset) -> list[Figure]:
    manifest = dataset.manifest
    scale = 512 / manifest.size
    split = dataset.split()
    figures = [
        Figure(f"{manifest.num_frames}", "frames"),
        Figure(f"{len(split.train)} / {len(split.test)}", "training / held out"),
        Figure(f"{len(manifest.shots)}", "shots"),
    ]
    if manifest.reprojection_error is not None:
        error = manifest.reprojection_error
        meaning = f"reprojection error, median ({error * scale:.2f} at 512)"
        figures.append(Figure(f"{error:.2f} px", meaning, is_good=error * scale <= MAX_ERROR))
    if manifest.jitter is not None:
        figures.append(
            Figure(f"{manifest.jitter:.3f} px", f"pose jitter ({manifest.jitter * scale:.3f} at 512)")
        )
    if manifest.av_offset_ms is not None:
        offset = manifest.av_offset_ms
        figures.append(Figure(f"{offset:+.0f} ms", "mouth after sound", is_good=abs(offset) <= MAX_OFFSET_MS))
    return figures


def _where(complaint: Complaint) -> str:
    if complaint.frame is None:
        return "whole clip"
    if complaint.last_frame is None or complaint.last_frame == complaint.frame:
        return f"{complaint.frame}"
    return f"{complaint.frame} to {complaint.last_frame}"
