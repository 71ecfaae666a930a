"""``python -m nerf_ad``: the same as the command ``nerf-ad``."""

from nerf_ad.cli.main import run

if __name__ == "__main__":
    run()
