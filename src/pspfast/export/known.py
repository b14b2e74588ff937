"""Checkpoints that are known by name: PSPNet for Pascal VOC as OpenMMLab published it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from pspfast.export.download import Hashes

__all__ = ["KNOWN", "KnownCheckpoint", "aliases", "find", "hashes_in_name", "names"]

_FOLDER = "https://download.openmmlab.com/mmsegmentation/v0.5/pspnet"
# OpenMMLab and PyTorch put the beginning of a file's sha256 at the end of its name; others may mean something else.
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.(?:pth|pt|ckpt)$")
_HOSTS = ("download.openmmlab.com", "download.pytorch.org")


@dataclass(frozen=True, slots=True)
class KnownCheckpoint:
    """A published checkpoint.

    Attributes:
        name: of its config when it was published (mmsegmentation 0.x), by which it is known.
        config: name of the same config in mmsegmentation 1.x; an alias.
        url: where it is.
        miou: published mIoU in percent on VOC 2012 val, at one scale.
        md5: 32 hex digits, where published.
    """

    name: str
    config: str
    url: str
    miou: float
    md5: str | None = None

    @property
    def hashes(self) -> Hashes:
        """What is known of the file's hash: the md5, else the beginning of the sha256 that is in its name.

        Not both: OpenMMLab has files that were exchanged under their name, and a published md5 of the file itself
        leaves nothing open.
        """
        return Hashes(md5=self.md5) if self.md5 else hashes_in_name(self.url)


KNOWN: tuple[KnownCheckpoint, ...] = (
    KnownCheckpoint(
        "pspnet_r50-d8_512x512_20k_voc12aug",
        "pspnet_r50-d8_4xb4-20k_voc12aug-512x512",
        f"{_FOLDER}/pspnet_r50-d8_512x512_20k_voc12aug/pspnet_r50-d8_512x512_20k_voc12aug_20200617_101958-ed5dfbd9.pth",
        76.78,
        "c563f7683bab2a869fe095a9eb801f6c",
    ),
    KnownCheckpoint(
        "pspnet_r50-d8_512x512_40k_voc12aug",
        "pspnet_r50-d8_4xb4-40k_voc12aug-512x512",
        f"{_FOLDER}/pspnet_r50-d8_512x512_40k_voc12aug/pspnet_r50-d8_512x512_40k_voc12aug_20200613_161222-ae9c1b8c.pth",
        77.29,
    ),
    KnownCheckpoint(
        "pspnet_r101-d8_512x512_20k_voc12aug",
        "pspnet_r101-d8_4xb4-20k_voc12aug-512x512",
        f"{_FOLDER}/pspnet_r101-d8_512x512_20k_voc12aug/pspnet_r101-d8_512x512_20k_voc12aug_20200617_102003-4aef3c9a.pth",
        78.47,
    ),
    KnownCheckpoint(
        "pspnet_r101-d8_512x512_40k_voc12aug",
        "pspnet_r101-d8_4xb4-40k_voc12aug-512x512",
        f"{_FOLDER}/pspnet_r101-d8_512x512_40k_voc12aug/pspnet_r101-d8_512x512_40k_voc12aug_20200613_161222-bc933b18.pth",
        78.52,
    ),
)


def names() -> tuple[str, ...]:
    """By which checkpoints are known.

    Example:
        >>> names()[0]
        'pspnet_r50-d8_512x512_20k_voc12aug'
    """
    return tuple(entry.name for entry in KNOWN)


def aliases() -> tuple[str, ...]:
    """Other names of theirs, in the same order."""
    return tuple(entry.config for entry in KNOWN)


def find(name: str) -> KnownCheckpoint | None:
    """The known checkpoint of that name or alias.

    Example:
        >>> find("pspnet_r50-d8_4xb4-20k_voc12aug-512x512").miou
        76.78
    """
    return next((entry for entry in KNOWN if name in (entry.name, entry.config)), None)


def hashes_in_name(url: str) -> Hashes:
    """What a URL's file name says of the file's hash, on hosts where it is known to say so.

    Example:
        >>> hashes_in_name("https://download.openmmlab.com/mmsegmentation/v0.5/x_20200617_101958-ed5dfbd9.pth").sha256
        'ed5dfbd9'
    """
    parts = urlsplit(url)
    found = _HASH_IN_NAME.search(os.path.basename(parts.path))
    return Hashes(sha256=found[1] if found and parts.hostname in _HOSTS else None)
