#!/bin/sh
# Install the Debian packages that `make test-all` needs. Asks for nothing; needs root or sudo.
set -eu
packages="chromium chromium-driver python3.11-doc git-doc apache2-doc focalinux-html debian-edu-doc-pt-br faketime iproute2 slurmctld slurmd slurm-client munge postgresql"
missing=""
for package in $packages; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
root=""
[ "$(id -u)" = 0 ] || root=sudo
# another installation may be going on, as an unattended upgrade: it is waited for
wait="-o DPkg::Lock::Timeout=600"
$root apt-get $wait update -qq
DEBIAN_FRONTEND=noninteractive $root apt-get $wait install -qq -y --no-install-recommends $missing
