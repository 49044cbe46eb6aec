"""Downloads files of weights into torch.hub's folder, each checked by its SHA-256.

The hash is at the end of the address, ``...#sha256=<64 digits>``, or its first digits are at the
end of the file's name, ``...-<8 digits or more>.pth``, as PyTorch and OpenMMLab name their files.
It is checked at each use, also of a file that was downloaded earlier.
"""

import hashlib
import re
import sys
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import torch

from ..errors import UserError


class Unavailable(UserError):
    """What an address names is not here, and cannot be downloaded now."""


IN_NAME = re.compile(r'-([0-9a-f]{8,64})(?:\.\w+)?$')
IN_FRAGMENT = re.compile(r'sha256=([0-9a-fA-F]{64})')


def split_hash(address: str) -> tuple[str, str | None]:
    """Returns an address without its hash, and the hash or its first digits, None without any.

    Raises:
        UserError: If what follows the ``#`` is not a SHA-256.
    """
    address, _, fragment = address.partition('#')
    if fragment:
        match = IN_FRAGMENT.fullmatch(fragment)
        if not match:
            raise UserError(
                f'{address}#{fragment}: expected #sha256= and 64 digits (0-9, a-f) at its end'
            )
        return address, match[1].lower()
    match = IN_NAME.search(PurePosixPath(urlsplit(address).path).name)
    return address, match[1] if match else None


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def require_hash(file: Path, digest: str | None, address: str) -> None:
    """Refuses a file that is not the one that a hash, or its first digits, belongs to.

    Raises:
        UserError: With the file's own hash; never where ``digest`` is None.
    """
    if digest and not (found := sha256_of(file)).startswith(digest):
        raise UserError(f'{address} is not the file that its hash belongs to: {found}')


def cached_file(address: str) -> Path:
    """Returns the file at an address, downloaded unless it is in torch.hub's folder already.

    Args:
        address: ``http://`` or ``https://``, with a hash.

    Raises:
        UserError: If the address has no hash, the file cannot be downloaded, or is another one.
    """
    url, digest = split_hash(address)
    if digest is None:
        raise UserError(
            f'{url}: what comes over a network is checked, and this address has no hash. Append '
            f'it: {url}#sha256=<64 digits>. Its publisher names it, or sha256sum prints it of a '
            'file that you trust.'
        )
    path = PurePosixPath(urlsplit(url).path)
    known_by_hash = digest[:8] in path.stem
    name = path.name if known_by_hash else f'{path.stem}-{digest[:8]}{path.suffix}'
    file = Path(torch.hub.get_dir(), 'checkpoints', name)
    if not file.is_file() or not sha256_of(file).startswith(digest):
        _download(url, file, digest)
    return file


def _download(url: str, file: Path, digest: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(file), digest, progress=sys.stderr.isatty())
    except RuntimeError as error:
        if 'invalid hash' not in str(error):
            raise
        raise UserError(
            f'{url} is not the file that its hash belongs to: {error}. Nothing was kept of it. If '
            f'digits in its name are no SHA-256, append the right one: {url}#sha256=<64 digits>'
        ) from error
    except (OSError, HTTPException) as error:
        raise Unavailable(
            f'{url} cannot be downloaded: {error}. Without a connection, bring the file here as '
            f'{file}'
        ) from error
