"""Simple feature pyramid: one map of a plain vision transformer becomes four (Source: ViTDet, arXiv 2203.16527).

Legend: B images, C channels in, P channels out, H W size of the incoming map.
"""

from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of a (B, C, H, W) map."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised map, same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNorm(nn.Sequential):
    """Convolution without bias followed by a channel norm."""

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int):
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel_size, padding=kernel_size // 2, bias=False),
            ChannelNorm(channels_out, eps=1e-6),
        )


class SimplePyramid(nn.Module):
    """Four maps at 4, 2, 1 and 1/2 times the resolution of the incoming one."""

    scales = (4.0, 2.0, 1.0, 0.5)

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        half, quarter = channels_in // 2, channels_in // 4
        up4 = nn.Sequential(
            nn.ConvTranspose2d(channels_in, half, 2, stride=2),
            ChannelNorm(half, eps=1e-6),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, stride=2),
        )
        up2 = nn.ConvTranspose2d(channels_in, half, 2, stride=2)
        self.resample = nn.ModuleList([up4, up2, nn.Identity(), nn.MaxPool2d(2)])
        self.smooth = nn.ModuleList(
            nn.Sequential(
                ConvNorm(channels, channels_out, 1), ConvNorm(channels_out, channels_out, 3)
            )
            for channels in (quarter, half, channels_in, channels_in)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return four maps (B, P, 4H, 4W), (B, P, 2H, 2W), (B, P, H, W), (B, P, H//2, W//2) from (B, C, H, W)."""
        return tuple(
            smooth(resample(x)) for resample, smooth in zip(self.resample, self.smooth, strict=True)
        )
