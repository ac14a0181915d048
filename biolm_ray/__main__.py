"""Makes `python -m biolm_ray` the command line."""

from biolm_ray.cli import run

if __name__ == "__main__":
    run()
