"""``python -m caterva2_subscriber.preview.shrink_worker WIDTH``: a picture from stdin, smaller and as PNG, to stdout.

The picture is read with no right but to read what comes in; whatever it makes the decoder do ends with the process.
"""

from __future__ import annotations

import io
import sys

from PIL import Image

from caterva2_formats.confinement import confine, leave_network

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM")
MAX_PIXELS = 100_000_000
MEMORY_BYTES = 768 * 2**20
CPU_S = 15


def main() -> int:
    """Return 0 if the picture was written."""
    width = int(sys.argv[1])
    # Decoders are modules: they must be there before the file system is not.
    Image.init()
    leave_network()
    confine([0], memory_bytes=MEMORY_BYTES, cpu_s=CPU_S)
    sys.stdout.buffer.write(shrink(sys.stdin.buffer.read(), width))
    sys.stdout.buffer.flush()
    return 0


def shrink(picture: bytes, width: int) -> bytes:
    """Return the picture as PNG, at most `width` pixels wide. Raises ValueError or OSError."""
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    with Image.open(io.BytesIO(picture), formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError("too large")
        image.draft("RGB", (width, width))
        image.thumbnail((width, image.height))
        shown = image if image.mode in ("L", "LA", "RGB", "RGBA", "P", "1", "I;16") else image.convert("RGB")
        out = io.BytesIO()
        shown.save(out, "PNG")
    return out.getvalue()


if __name__ == "__main__":
    sys.exit(main())
