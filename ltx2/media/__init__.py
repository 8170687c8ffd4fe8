"""Media in and out: pictures from callers, MP4s to them. Imports neither torch nor Pillow."""
