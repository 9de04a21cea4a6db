"""What a frozen encoder sees in each picture, computed once and kept: an SQLite file from picture to annotations.

    paths  --FeatureCache.annotations-->  float16 [n, places, width]

The key of an entry is (SHA-256 of the encoder's weights, SHA-256 of the picture's bytes), so a picture that moves keeps its entry and another
encoder makes its own. An entry is on the disk when its batch is: a kill costs one batch. 32 KiB a picture with the kit's encoder.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch

from helpers.core.errors import InputError, ResourceError, is_disk_full
from helpers.core.images import open_image

BATCH = 32
_TABLE = "CREATE TABLE IF NOT EXISTS annotations (encoder TEXT, picture TEXT, data BLOB NOT NULL, PRIMARY KEY (encoder, picture)) WITHOUT ROWID"


def digest_encoder(encoder: torch.nn.Module) -> str:
    """The SHA-256 of an encoder's class and weights."""
    digest = hashlib.sha256(type(encoder).__name__.encode())
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


class FeatureCache:
    """The annotations of pictures under one frozen `encoder`, in the file `path`, which may serve several encoders."""

    def __init__(self, path: Path | str, encoder: torch.nn.Module):
        self.path, self.encoder, self.digest = Path(path), encoder.eval(), digest_encoder(encoder)

    def annotations(self, pictures: Sequence[Path], progress: str | None = "looking at pictures") -> torch.Tensor:
        """float16 [n, places, width] for n picture files; what is not in the cache is computed and put there.

        Raises InputError for a picture that cannot be used or a file that is no cache, ResourceError for a full disk.
        """
        from tqdm.auto import tqdm

        keys = []
        for picture in pictures:
            try:
                keys.append(hashlib.sha256(Path(picture).read_bytes()).hexdigest())
            except OSError as error:
                raise InputError(f"The picture {picture} cannot be read: {error.strerror}.") from error
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=60)) as store:
                store.execute("PRAGMA journal_mode = WAL")
                store.execute(_TABLE)
                known = {key for key, in store.execute("SELECT picture FROM annotations WHERE encoder = ?", (self.digest,))}
                new = [(key, picture) for key, picture in dict(zip(keys, pictures)).items() if key not in known]
                with tqdm(total=len(new), desc=progress, unit="picture", disable=progress is None or not new) as bar:
                    for start in range(0, len(new), BATCH):
                        batch = new[start:start + BATCH]
                        rows = [(self.digest, key, data.tobytes()) for (key, _), data in zip(batch, self._look([picture for _, picture in batch]))]
                        with store:
                            store.executemany("INSERT OR IGNORE INTO annotations VALUES (?, ?, ?)", rows)
                        bar.update(len(batch))
                found = torch.empty((len(keys), self.encoder.places, self.encoder.width), dtype=torch.float16)
                for row, key in enumerate(keys):
                    data, = store.execute("SELECT data FROM annotations WHERE encoder = ? AND picture = ?", (self.digest, key)).fetchone()
                    found[row] = torch.from_numpy(np.frombuffer(data, np.float16).reshape(found.shape[1:]).copy())
                return found
        except (sqlite3.Error, OSError) as error:
            if is_disk_full(error):
                raise ResourceError(f"The disk is full ({self.path}); free some space and run the same again, what was computed is kept.") from error
            raise InputError(f"{self.path} cannot be used to keep what the encoder sees ({error}); delete it, or name another file.") from error

    @torch.inference_mode()
    def _look(self, pictures: Sequence[Path]) -> np.ndarray:
        """float16 [n, places, width], computed now."""
        pixels = torch.stack([self.encoder.prepare(open_image(picture)) for picture in pictures])
        return self.encoder(pixels).half().numpy()
