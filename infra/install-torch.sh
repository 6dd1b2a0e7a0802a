#!/bin/sh
# Install torch: the CUDA build where there is an NVIDIA GPU, otherwise the much smaller CPU build.
#   infra/install-torch.sh BIN VERSION        BIN is the virtual environment's folder of programs
# The version on the package index is the CUDA build on x86-64. The CPU build carries the local
# version +cpu: pip finds it where it is set up to look (a folder of wheels, a mirror); elsewhere uv,
# which knows where PyTorch keeps its builds, fetches it. TORCH=cpu or TORCH=cuda in the
# environment decides by hand.
set -eu
bin=$1 version=$2
build=${TORCH:-}
if [ -z "$build" ]; then
    if nvidia-smi -L >/dev/null 2>&1; then build=cuda; else build=cpu; fi
fi
echo "torch $version, $build build"
if [ "$build" = cuda ]; then
    exec "$bin/python" -m pip install --quiet "torch==$version"
fi
if "$bin/python" -m pip install --quiet "torch==$version+cpu" 2>/dev/null; then
    exit 0
fi
"$bin/python" -m pip install --quiet uv
exec "$bin/uv" pip install --quiet --python "$bin/python" --torch-backend cpu "torch==$version"
