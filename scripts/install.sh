#!/bin/sh
# Builds in release mode and installs chitcpd, chitcp, the libraries, the headers, a pkg-config file and the dissector for
# Wireshark under PREFIX.
set -eu

usage() {
    cat <<USAGE
usage: scripts/install.sh PREFIX

Builds in release mode and installs
    PREFIX/bin/chitcpd, PREFIX/bin/chitcp
    PREFIX/lib/libchitcp.so, PREFIX/lib/libchitcp-preload.so, PREFIX/lib/pkgconfig/chitcp.pc
    PREFIX/lib/libchitcp-packetdrill.so
    PREFIX/include/chitcp/*.h
    PREFIX/share/chitcp/chitcp.lua, which shows chiTCP's frames in Wireshark
Nothing installed needs Swift on the machine it runs on. DESTDIR is honoured.
USAGE
}

case "${1:-}" in
-h | --help) usage; exit 0 ;;
esac
if [ $# -ne 1 ]; then usage >&2; exit 64; fi
case "$1" in
/*) prefix=${1%/} ;;
*)
    mkdir -p "$1"
    prefix=$(cd "$1" && pwd)
    ;;
esac
command -v swift >/dev/null || { echo "install.sh: swift is not on the PATH (https://www.swift.org/install)" >&2; exit 69; }

root=$(cd "$(dirname "$0")/.." && pwd)
target="${DESTDIR:-}$prefix"
mkdir -p "$target" 2>/dev/null && [ -w "$target" ] || {
    echo "install.sh: cannot write to $target (choose another PREFIX, or use sudo)" >&2
    exit 73
}
cd "$root"

# One scratch folder of its own: objects built for the static runtime do not mix with others.
build() { swift build -c release --scratch-path .build-static -Xswiftc -static-stdlib "$@"; }
products=$(swift package describe --type json | sed -n 's/.*"name" : "\(chitcpd\|chitcp\)".*/\1/p' | sort -u)

build --product chitcp-c -Xlinker -soname -Xlinker libchitcp.so
bin=$(build --show-bin-path)
install -d "$target/bin" "$target/lib/pkgconfig" "$target/include/chitcp"
install -m 755 "$bin/libchitcp-c.so" "$target/lib/libchitcp.so"
build --product chitcp-packetdrill -Xlinker -soname -Xlinker libchitcp-packetdrill.so
install -m 755 "$bin/libchitcp-packetdrill.so" "$target/lib/libchitcp-packetdrill.so"
# This one is C and needs no runtime at all, not even what a static one needs: built with other flags, in a folder apart.
preload() { swift build -c release --scratch-path .build-preload "$@"; }
preload --product chitcp-preload
install -m 755 "$(preload --show-bin-path)/libchitcp-preload.so" "$target/lib/libchitcp-preload.so"
install -m 644 Sources/CChitcp/include/chitcp/*.h "$target/include/chitcp/"
install -d "$target/share/chitcp"
install -m 644 scripts/wireshark/chitcp.lua "$target/share/chitcp/"

for product in chitcpd chitcp; do
    # The package itself is named chitcp, so an executable counts only if it has a target folder.
    echo "$products" | grep -qx "$product" && [ -d "Sources/$product" ] || continue
    build --product "$product"
    install -m 755 "$bin/$product" "$target/bin/$product"
done

cat >"$target/lib/pkgconfig/chitcp.pc" <<PC
prefix=$prefix
libdir=\${prefix}/lib
includedir=\${prefix}/include

Name: chitcp
Description: TCP sockets of chitcpd
Version: 0.1.0
Libs: -L\${libdir} -lchitcp
Cflags: -I\${includedir}
PC
echo "installed under $target"
