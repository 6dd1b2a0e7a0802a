#!/bin/sh
# Make the locks anew from pyproject.toml:
#   infra/locks/make.sh               what changed there; all other packages keep their versions
#   infra/locks/make.sh --upgrade     the newest versions that it allows
# Hashes are those that the package index tells, of every file of a version; nothing is downloaded for them.
# uv asks the index of UV_DEFAULT_INDEX, or PyPI. PYTHON names the Python to run it with.
set -eu
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet uv

lock() { # NAME, then options of uv
    name=$1
    shift
    "$folder/venv/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-header --no-annotate --output-file "infra/locks/$name.txt" "$@" \
        pyproject.toml
}

upgrade=${1:-}
lock cuda --extra s3 --extra cloud --extra gpu $upgrade

# The CPU build of torch is not the file that the index has under that version, and wants no CUDA:
# infra/install-torch.sh installs it first, and the lock holds everything else.
without="--no-emit-package torch"
for package in $(sed -n 's/^\(nvidia-[a-z0-9-]*\|cuda-[a-z0-9-]*\|triton\)==.*/\1/p' infra/locks/cuda.txt); do
    without="$without --no-emit-package $package"
done
sed -n 's/^\([a-z0-9._-]*==[^\\]*\).*/\1/p' infra/locks/cuda.txt > "$folder/versions.txt"
lock cpu --extra s3 --extra cloud --constraint "$folder/versions.txt" $without
