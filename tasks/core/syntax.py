"""What can be written for a model's weights and inputs, in words: for help, and for sentences about what is wrong."""

DEFAULT_OPSET = 20
OPSETS = (9, 25)
"""Lowest and highest."""
WEIGHTS_CHOICES = "a file, a folder of shards, a URL, runs:/…, models:/…, random[:SEED] or as-built"
"""What `--weights` takes for any model."""
INPUT_SYNTAX = (
    "NAME=DTYPE[DIM,...]@LOW..HIGH, e.g. image=float32[batch,3,224,224] or ids=int64[batch,length=13]@0..103; "
    "@padded for a mask whose rows are ones, at least one, then zeros (@padded-left: zeros, then ones; @padded-either)"
)
DIM_SYNTAX = (
    "a number, WORD[=SIZE][:LOW..HIGH], or a sum or multiple of other WORDs, such as total=past+new or 2*length"
)
VERSION_SYNTAX = "NAME/VERSION, NAME@ALIAS or models:/NAME/VERSION, e.g. digits/3 or digits@champion"
"""How a registered version is named."""
DATA_SYNTAX = (
    "give an .npz, a folder of .npz or of pictures, or file.py:function, which yields dicts of arrays or (dict, labels)"
)
"""Samples to calibrate and to evaluate variants with."""
