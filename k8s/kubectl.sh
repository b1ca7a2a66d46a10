#!/bin/sh
# A kubectl whose kustomize can build the trees of k8s/ (5 or newer: client 1.27), as FOLDER/kubectl:
#   k8s/kubectl.sh FOLDER
# The one on PATH if it is new enough. Debian 12's is 1.20, whose kustomize 2 knows no components; Debian 13's runs on
# Debian 12 as well. apt-get fetches and verifies it here with lists of its own, so nothing is installed and nobody has to
# be root.
set -eu

folder=$1
KEYS=/usr/share/keyrings/debian-archive-keyring.gpg
new_enough() { "$1" version --client 2> /dev/null | grep -Eq 'Kustomize Version: v([5-9]|[1-9][0-9])\.'; }

new_enough "$folder/kubectl" && exit 0
mkdir -p "$folder"
if found=$(command -v kubectl) && new_enough "$found"; then
    ln -sf "$found" "$folder/kubectl"
    exit 0
fi
if ! { command -v apt-get && command -v dpkg-deb && [ -e $KEYS ]; } > /dev/null; then
    echo "kubectl.sh: needs kubectl 1.27 or newer: https://kubernetes.io/docs/tasks/tools" >&2
    exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/unpacked"
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2> /dev/null | grep -m 1 -E '/debian/?$') || mirror=
cat > "$work/trixie.sources" << END
Types: deb
URIs: ${mirror:-http://deb.debian.org/debian}
Suites: trixie
Components: main
Signed-By: $KEYS
END
own="-o Dir::Etc::sourcelist=$work/trixie.sources -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists=$work/lists
     -o Dir::State::status=/dev/null -o Dir::Cache=$work/cache -o Debug::NoLocking=1 -o APT::Sandbox::User=$(id -un)"
# shellcheck disable=SC2086 # words on purpose
(cd "$work" && apt-get -qq $own update && apt-get -qq $own download kubectl) >&2
dpkg-deb -x "$work"/kubectl_*.deb "$work/unpacked"
new_enough "$work/unpacked/usr/bin/kubectl" || { echo "kubectl.sh: what Debian 13 gives is not new enough" >&2; exit 1; }
install -m 755 "$work/unpacked/usr/bin/kubectl" "$folder/kubectl"
