"""Train DigitsCNN on scikit-learn's digits; write digits.pth, and digits for proof, calibration and evaluation.

python deployments/digits/train.py
"""

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from deployments.digits.model import DigitsCNN

FOLDER = Path(__file__).parent
NUM_EPOCHS = 15
NUM_SAMPLES = 64
NUM_CALIBRATION = 256


def main() -> None:
    """Train, print the accuracy on held-out digits, and write the files; takes seconds on a CPU."""
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 1, 8, 8).astype(np.float32)
    split = train_test_split(images, labels, test_size=0.25, random_state=0, stratify=labels)
    train_x, test_x, train_y, test_y = (torch.from_numpy(part) for part in split)

    model = DigitsCNN()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(NUM_EPOCHS):
        model.train()
        for rows in torch.randperm(len(train_x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(train_x[rows]), train_y[rows]).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        accuracy = (model(test_x).argmax(dim=1) == test_y).float().mean().item()
    print(f"accuracy on {len(test_x)} held-out digits: {accuracy:.1%}")

    torch.save(model.state_dict(), FOLDER / "digits.pth")
    np.savez_compressed(FOLDER / "samples.npz", image=test_x[:NUM_SAMPLES].numpy())
    np.savez_compressed(FOLDER / "calibration.npz", image=train_x[:NUM_CALIBRATION].numpy())
    np.savez_compressed(FOLDER / "evaluation.npz", image=test_x.numpy(), labels=test_y.numpy())


if __name__ == "__main__":
    main()
