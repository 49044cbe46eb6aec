"""Which images look alike: perceptual hashes, and the pairs whose hashes differ little.

The hash is the perceptual one of DCT coefficients (C. Zauner, "Implementation and Benchmarking of
Perceptual Image Hash Functions", 2010, section 3.2), with 16 x 16 coefficients in place of 8 x 8.
"""

from collections.abc import Iterator

import cv2
import numpy as np

SIDE = 64  # pixels of the image that is hashed
COEFFICIENTS = 16  # lowest frequencies in each direction; as many bits, squared
BITS = COEFFICIENTS**2
FLAT = 8  # grey levels: an image that spans fewer looks like any other of the kind
# Of 906 photographs of blood cells, nuclei, cards and hands, the nearest two of one kind that show
# different things differ in 54 bits, of all but the hands in 78. Saved anew with a quality of 30,
# brighter by a fifth or of half the size, 95 % differ from themselves in up to 15; cut by 3 %, in
# up to 37.
MOST_BITS = 32
BLOCK = 2048, 8192  # images of each kind that are compared at a time: 64 MB


def fingerprint(grey: np.ndarray) -> bytes | None:
    """Returns the perceptual hash of an image, None if it has next to no contrast.

    Args:
        grey: ``(H, W)``, uint8.
    """
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    if int(small.max()) - int(small.min()) < FLAT:
        return None
    waves = cv2.dct(small.astype(np.float32))[:COEFFICIENTS, :COEFFICIENTS].ravel()
    return np.packbits(waves > np.median(waves[1:])).tobytes()  # the first is the brightness


def alike(first: list[bytes], second: list[bytes]) -> Iterator[tuple[int, int]]:
    """Yields the pairs that differ in :data:`MOST_BITS` at most, by their indices.

    All pairs are compared, as products of matrices.

    Args:
        first: Fingerprints.
        second: Others.
    """
    for row in range(0, len(first), BLOCK[0]):
        rows = _signs(first[row : row + BLOCK[0]])
        for column in range(0, len(second), BLOCK[1]):
            agree = rows @ _signs(second[column : column + BLOCK[1]]).T  # BITS - 2 x differing
            for one, other in np.argwhere(agree >= BITS - 2 * MOST_BITS).tolist():
                yield row + one, column + other


def _signs(fingerprints: list[bytes]) -> np.ndarray:
    """Returns the bits as -1 and 1, ``(N, BITS)``."""
    packed = np.frombuffer(b''.join(fingerprints), np.uint8).reshape(-1, BITS // 8)
    return np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1
