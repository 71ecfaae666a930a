"""The bar for host memory: at most 2 GB, and the same for ten minutes of clip as for ten seconds."""

from typing import Any

HOST_MB = 2000.0
"""Memory that no piece may exceed, in MB of a million bytes (issue 6)."""
FLAT = 1.1
"""How much more than the shortest clip the longest may take to be called flat (ours)."""


def rows_of(rows: dict[str, dict[str, Any]], part: str) -> dict[int, dict[str, Any]]:
    """Rows of a part by their number, ascending."""
    found = {int(name.split()[1]): row for name, row in rows.items() if name.startswith(f"{part} ")}
    return dict(sorted(found.items()))


def most(row: dict[str, Any], kind: str) -> float:
    """The most memory of a kind over all stages, MB."""
    return max((stage.get(kind, 0.0) for stage in row["stages"].values()), default=0.0)


def verdict(clips: dict[int, dict[str, Any]], every: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The bar: how much the hungriest piece took, and whether memory is flat over clip length."""
    good = {number: row for number, row in clips.items() if "failed" not in row}
    failed = sorted(name for name, row in every.items() if "failed" in row)
    found: dict[str, Any] = {"failed": failed} if failed else {}
    peaks = {name: row["peak_mb"] for name, row in every.items() if "peak_mb" in row}
    if peaks:
        name = max(peaks, key=lambda one: peaks[one])
        found |= {
            "most_mb": peaks[name],
            "most_by": name,
            "within_2_gb": peaks[name] <= HOST_MB and not failed,
        }
    if len(good) > 1:
        short, long = min(good), max(good)
        grown = good[long]["peak_mb"] / good[short]["peak_mb"]
        found |= {
            "clip_seconds": [short, long],
            "grown": round(grown, 3),
            "flat": grown <= FLAT and good == clips,
        }
    return found
