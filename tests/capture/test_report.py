"""The report's parts: text is escaped, energy has known decibels, pictures have known pixels."""

import numpy as np

from nerf_ad.capture.report.contact_sheet import contact_sheet, lay_over, tint_parts
from nerf_ad.capture.report.curves import draw_correlation, draw_series
from nerf_ad.capture.report.page import Figure, Section, Table, page
from nerf_ad.capture.report.report import speech_energy
from nerf_ad.media.audio import Waveform


def test_text_is_escaped_and_tags_are_closed() -> None:
    from html.parser import HTMLParser

    class Balance(HTMLParser):
        depth = 0

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.depth += tag not in {"meta", "img"}

        def handle_endtag(self, tag: str) -> None:
            self.depth -= 1

    evil = "<script>alert('x')</script>&"
    table = Table((evil, "b"), [(evil, "1")], numeric=("b",))
    html = page(
        evil, evil, [Figure(evil, evil, is_good=False)], [Section(evil, evil, [("a.png", evil)], table)]
    )
    assert "<script" not in html
    parser = Balance()
    parser.feed(html)
    assert parser.depth == 0


def test_energy_of_a_sine() -> None:
    rate, fps = 16_000, 25
    sine = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
    sine[rate // 2 :] = 0
    energy = speech_energy(Waveform(sine.astype(np.float32), rate), fps, 30)
    assert np.allclose(energy[:12], 20 * np.log10(0.5 / np.sqrt(2)), atol=0.01)
    assert (energy[13:] == -60).all()
    assert len(energy) == 30


def test_torso_over_plate() -> None:
    torso = np.full((2, 2, 4), (200, 100, 0, 255), np.uint8)
    torso[0, 0, 3] = 0
    plate = np.full((2, 2, 3), 10, np.uint8)
    laid = lay_over(torso, plate)
    assert laid[0, 0].tolist() == [10, 10, 10]
    assert laid[1, 1].tolist() == [200, 100, 0]


def test_tints_differ_by_part_and_borders_are_white() -> None:
    labels = np.repeat(np.array([[0, 0, 1, 1]], np.uint8), 4, axis=0)
    tinted = tint_parts(np.full((4, 4, 3), 100, np.uint8), labels, [(0, 0, 0), (255, 0, 0)])
    assert (tinted[:, 2] == 255).all()
    assert tinted[0, 3, 0] > tinted[0, 0, 0]


def test_sheet_has_room_for_all() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    sheet = contact_sheet([("a", [picture] * 3), ("b", [picture])], ["1", "2", "3"], tile=20)
    assert sheet.shape[0] > 40
    assert sheet.shape[1] > 60


def test_curves_are_pictures() -> None:
    x = np.arange(20) / 25
    image = draw_series(x, [("y", {"a": x, "b": -x}), ("z", {"c": x})], marks=[0.2], shade=(0.5, 0.7))
    lags = np.linspace(-400, 400, 81)
    assert image.startswith(b"\x89PNG")
    assert draw_correlation(lags, np.exp(-((lags / 100) ** 2)), 0.0).startswith(b"\x89PNG")
