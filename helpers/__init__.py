"""CaptionLab: teach a small vision-language model to describe pictures."""
