#!/usr/bin/env bash
# Makes Sources/DaemonProtocol/chitcpd.pb.swift of chitcpd.proto. Wanted after a change of the .proto file only; what it
# makes is committed. Needs protoc (Debian: protobuf-compiler); its Swift plugin is built from the package's own checkout.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v protoc >/dev/null; then
    echo "generate-protocol: no protoc on the PATH; install protobuf-compiler" >&2
    exit 1
fi
swift package resolve
plugin=.build/protoc-gen-swift
swift build -c release --package-path .build/checkouts/swift-protobuf --scratch-path "$PWD/$plugin" \
    --product protoc-gen-swift
protoc --plugin="$plugin/release/protoc-gen-swift" --proto_path=Sources/DaemonProtocol \
    --swift_opt=Visibility=Public --swift_out=Sources/DaemonProtocol chitcpd.proto
