"""The pictures that an SVG file contains in `data:` URLs."""
