"""A small U-Net: pictures of any height and width in, a mask out. Run as a program it writes unet.pth."""

from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import interpolate


class UNet(nn.Module):
    """Two levels, joined by a skip."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, width, 3, padding=1)
        self.bottom = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.up = nn.Conv2d(3 * width, 1, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Score each pixel.

        Args:
            image: float32 [batch, 3, height, width].
        """
        skip = torch.relu(self.down(image))
        bottom = torch.relu(self.bottom(nn.functional.avg_pool2d(skip, 2, ceil_mode=True)))
        wide = interpolate(bottom, size=skip.shape[-2:])
        scores: torch.Tensor = self.up(torch.cat([skip, wide], dim=1))
        return scores


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.save(UNet().state_dict(), Path(__file__).with_suffix(".pth"))
