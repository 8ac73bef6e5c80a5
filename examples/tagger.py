"""A tagger of words: two inputs, both dynamic in batch and length; its own code sets its weights (`as-built`)."""

import torch
from torch import nn


class Tagger(nn.Module):
    """One score per tag and word; words behind the mask count for nothing."""

    def __init__(self, num_words: int = 100, num_tags: int = 5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(num_words, 16)
        self.tags = nn.Linear(32, num_tags)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Score the tags of each word beside the mean of its sentence.

        Args:
            ids: int64 [batch, length], numbers of words.
            mask: bool [batch, length], which of them are there.
        """
        words = self.words(ids) * mask.unsqueeze(-1)
        mean = words.sum(1, keepdim=True) / (1 + mask.sum(1, keepdim=True)).unsqueeze(-1)
        scores: torch.Tensor = self.tags(torch.cat([words, mean.expand_as(words)], dim=-1))
        return scores
