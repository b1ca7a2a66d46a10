#!/bin/sh
# Programs that a target of the Makefile needs and pip does not bring:
#   k8s/tools.sh PROGRAM=PACKAGE ...      e.g. k8s/tools.sh promtool=prometheus
# Each PROGRAM that is not on PATH is installed from Debian's PACKAGE where we are root; else the exact command is told and
# the exit code is 1. Knows nothing of versions.
set -eu

missing=
for wanted in "$@"; do
    program=${wanted%%=*} package=${wanted#*=}
    case $wanted in
        ?*=?*) ;;
        *) echo "tools.sh: '$wanted' is not PROGRAM=PACKAGE, e.g. promtool=prometheus" >&2; exit 2 ;;
    esac
    command -v "$program" > /dev/null || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

install="apt-get install -y --no-install-recommends$missing"
if ! command -v apt-get > /dev/null; then
    echo "tools.sh: not on PATH:$missing (Debian's names); there is no apt-get here, so install them as this system does" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "tools.sh: not on PATH; run: sudo $install" >&2
    exit 1
fi
# Another target may be installing something; a fresh machine has no lists of packages, an old one has stale ones.
# Services that a package brings (Prometheus') are not for us, so none is started.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
wait="-o DPkg::Lock::Timeout=300"
# shellcheck disable=SC2086 # words on purpose
$install -qq $wait >&2 || { apt-get update -qq $wait >&2 && $install -qq $wait >&2; }

for wanted in "$@"; do
    command -v "${wanted%%=*}" > /dev/null || { echo "tools.sh: ${wanted#*=} was installed, and brings no ${wanted%%=*}" >&2; exit 1; }
done
