"""torchvision's ResNet-18, pretrained on ImageNet, as the baseline's eyes: for photographs, and where a network is there to get it.

    picture  --prepare-->  pixels [3, 224, 224]  --ResNetEncoder-->  annotations [49, 512]: a 7×7 grid, row by row

Its weights (45 MB) come from download.pytorch.org on first use and stay in torch's cache. Show, Attend and Tell did the same with VGG (Xu et al.,
2015, section 3.1.1): annotations from a lower layer than the classes, so that each still belongs to a place.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from helpers.core.errors import ResourceError

IMAGE_SIZE = 224
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours, as the weights expect them


class ResNetEncoder(nn.Module):
    """ResNet-18 up to its last grid, with random weights; `load_resnet` brings the pretrained ones."""

    def __init__(self):
        super().__init__()
        from torchvision.models import resnet18

        self.layers = nn.Sequential(*list(resnet18().children())[:-2])  # without pooling and classes
        self.width, self.places, self.grid = 512, 49, 7

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """[batch, 3, 224, 224] → annotations [batch, 49, 512]"""
        return self.layers(pixels.contiguous(memory_format=torch.channels_last)).flatten(2).transpose(1, 2)

    def prepare(self, picture) -> torch.Tensor:
        """A PIL picture of any size → pixels [3, 224, 224] in ImageNet's units; one that is no square is squeezed into one."""
        from PIL import Image

        small = np.asarray(picture.convert("RGB").resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC), dtype=np.float32)
        return torch.from_numpy((small / 255 - MEAN) / SPREAD).permute(2, 0, 1).float()


def load_resnet() -> ResNetEncoder:
    """The encoder with ImageNet's weights. Raises ResourceError where they are neither in torch's cache nor to be had from the network."""
    from urllib.error import URLError

    from torchvision.models import ResNet18_Weights, resnet18

    try:
        pretrained = resnet18(weights=ResNet18_Weights.IMAGENET1K_V1, progress=False)
    except (URLError, OSError) as error:
        raise ResourceError(
            f"torchvision's pretrained ResNet-18 cannot be downloaded ({getattr(error, 'reason', None) or error}): take the kit's own encoder, which needs no network "
            f"(pretrained), or put {ResNet18_Weights.IMAGENET1K_V1.url.rsplit('/', 1)[-1]} into {torch.hub.get_dir()}/checkpoints."
        ) from error
    encoder = ResNetEncoder()
    encoder.layers.load_state_dict(nn.Sequential(*list(pretrained.children())[:-2]).state_dict())
    return encoder.eval()
