"""The baseline's eyes: a small convolutional network that turns a picture into annotation vectors, one for each place in it.

    picture  --prepare-->  pixels [3, 128, 128], -1 … 1  --Encoder-->  annotations [64, 256]: an 8×8 grid, row by row, 256 numbers a place

"Annotation vectors" is what Show, Attend and Tell (Xu et al., 2015) calls a_1 … a_L. Each place covers 16×16 pixels of the prepared picture
and has seen much of what surrounds them. The network is a small ResNet (He et al., 2016, arXiv:1512.03385) with group normalisation
(Wu & He, 2018, arXiv:1803.08494), which treats a picture alike whatever batch it comes in.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from helpers.core.errors import InputError
from helpers.core.loading import first_line
from helpers.core.paths import CNN_ENCODER

IMAGE_SIZE = 128
GRID = 8  # places per side
WIDTHS = (32, 64, 128, 256)
BLOCKS = (1, 2, 2)  # residual blocks of each stage after the stem


class Block(nn.Module):
    """Two 3×3 convolutions and a way around them; `stride` 2 halves the grid."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(8, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(8, outputs)
        self.around = nn.Identity() if stride == 1 and inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, inputs, height, width] → [batch, outputs, height / stride, width / stride]"""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.around(x) + self.norm2(self.conv2(y)))


class Encoder(nn.Module):
    """The convolutional network; `width` numbers at each of `places` places."""

    def __init__(self):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, WIDTHS[0], 5, 2, padding=2, bias=False), nn.GroupNorm(8, WIDTHS[0]), nn.ReLU()]
        for inputs, outputs, blocks in zip(WIDTHS, WIDTHS[1:], BLOCKS):
            layers += [Block(inputs, outputs, stride=2), *(Block(outputs, outputs) for _ in range(blocks - 1))]
        self.layers = nn.Sequential(*layers)
        self.width, self.places, self.grid = WIDTHS[-1], GRID ** 2, GRID

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """[batch, 3, 128, 128] → annotations [batch, 64, 256]"""
        # Pixel by pixel in memory ("channels last") convolutions on a CPU run faster.
        return self.layers(pixels.contiguous(memory_format=torch.channels_last)).flatten(2).transpose(1, 2)

    def prepare(self, picture) -> torch.Tensor:
        """A PIL picture of any size → pixels [3, 128, 128] from -1 to 1; one that is no square is squeezed into one."""
        from PIL import Image

        small = picture.convert("RGB").resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 127.5 - 1


def load_encoder(folder: Path | str = CNN_ENCODER) -> Encoder:
    """The pretrained encoder in `folder`. Raises InputError when there is none, or its file is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file, encoder = Path(folder) / "model.safetensors", Encoder()
    try:
        encoder.load_state_dict({name: tensor.float() for name, tensor in load_file(file).items()})
    except OSError:
        raise InputError(f"There is no encoder in {folder}; make one with `captionlab pretrain-encoder --out {folder}`.") from None
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"{file} is no encoder of this kit or damaged ({first_line(error)}); "
                         "get it back with git checkout, or make it with `captionlab pretrain-encoder`.") from error
    return encoder.eval()
