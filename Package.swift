// swift-tools-version: 6.3
import PackageDescription

let strict: [SwiftSetting] = [.treatAllWarnings(as: .error)]

let package = Package(
    name: "chitcp",
    products: [
        .library(name: "TCPEngine", targets: ["TCPEngine", "TCPSegments"]),
        .library(name: "TCPSimulation", targets: ["TCPSimulation", "Impairments"]),
        .library(name: "Chisocket", targets: ["Chisocket"]),
        .library(name: "NIOChisocket", targets: ["NIOChisocket"]),
        .library(name: "chitcp-c", type: .dynamic, targets: ["libchitcp", "CChitcp"]),
        .library(name: "chitcp-preload", type: .dynamic, targets: ["ChitcpPreload"]),
        .library(name: "chitcp-packetdrill", type: .dynamic, targets: ["PacketdrillPlugin"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0", traits: []),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    ],
    targets: [
        .target(name: "TCPSegments", swiftSettings: strict),
        .target(
            name: "TCPEngine",
            dependencies: [
                "TCPSegments",
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "HeapModule", package: "swift-collections"),
            ],
            swiftSettings: strict),
        .target(
            name: "TCPSimulation",
            dependencies: [
                "TCPEngine", "Impairments", "TCPSegments",
                .product(name: "HeapModule", package: "swift-collections"),
            ],
            swiftSettings: strict),
        .target(
            name: "TCPDrill", dependencies: ["TCPEngine", "Impairments", "TCPSegments"], swiftSettings: strict),
        .testTarget(
            name: "TCPDrillTests", dependencies: ["TCPDrill", "TCPEngine", "TCPSegments"], exclude: ["Scripts"],
            swiftSettings: strict),
        .testTarget(name: "TCPSegmentsTests", dependencies: ["TCPSegments"], swiftSettings: strict),
        .testTarget(
            name: "TCPSimulationTests", dependencies: ["TCPSimulation", "TCPEngine", "Impairments", "TCPSegments"],
            exclude: ["GoodputSmall.txt"],
            swiftSettings: strict),
        .testTarget(
            name: "ImpairmentsTests", dependencies: ["Impairments", "TCPSegments"], swiftSettings: strict),
        .target(name: "Impairments", dependencies: ["TCPSegments"], swiftSettings: strict),
        .target(
            name: "NetworkLayer",
            dependencies: [
                "TCPSegments", "Impairments", "CLinux",
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "HeapModule", package: "swift-collections"),
            ],
            swiftSettings: strict),
        .target(
            name: "SocketLayer",
            dependencies: [
                "TCPEngine", "TCPSegments", "NetworkLayer",
                .product(name: "HeapModule", package: "swift-collections"),
            ],
            swiftSettings: strict),
        .target(
            name: "DaemonProtocol",
            dependencies: [.product(name: "SwiftProtobuf", package: "swift-protobuf")],
            exclude: ["chitcpd.proto"],
            swiftSettings: strict),
        .target(
            name: "Daemon",
            dependencies: [
                "SocketLayer", "NetworkLayer", "TCPEngine", "TCPSegments", "Impairments", "ControlRecords",
                "DaemonProtocol", "CLinux",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict),
        .executableTarget(name: "chitcpd", dependencies: ["Daemon"], swiftSettings: strict),
        .testTarget(
            name: "DaemonTests",
            // Commands, samples and the library for unmodified programs are run by the tests.
            dependencies: [
                "CLinux", "Chisocket", "ControlRecords", "Daemon", "DaemonProtocol", "Impairments", "NIOChisocket",
                "NetworkLayer", "TCPEngine", "TCPSegments", "TestSupport", "chitcp", "chitcpd", "echo-client",
                "echo-server",
                "file-sender", "http-server",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            exclude: ["Programs"], swiftSettings: strict),
        .testTarget(
            name: "HostileTests",
            dependencies: [
                "Chisocket", "CLinux", "ControlRecords", "Impairments", "NetworkLayer", "TCPSegments", "TestSupport",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "TCPEngineTests", dependencies: ["TCPEngine", "TCPSegments", "CLinux"], swiftSettings: strict),
        .testTarget(
            name: "NetworkLayerTests", dependencies: ["Impairments", "NetworkLayer", "TCPSegments"],
            swiftSettings: strict),
        .target(
            name: "ChitcpCommand",
            dependencies: [
                "Chisocket", "CLinux", "ControlRecords", "Daemon", "Impairments", "NetworkLayer", "TCPDrill",
                "TCPSegments", "TCPSimulation",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict),
        .executableTarget(name: "chitcp", dependencies: ["ChitcpCommand"], swiftSettings: strict),
        .testTarget(
            name: "ChitcpCommandTests", dependencies: ["ChitcpCommand", "Impairments", "NetworkLayer", "TCPSegments"],
            swiftSettings: strict),
        .executableTarget(
            name: "engine-benchmark", dependencies: ["TCPEngine", "TCPSegments"], path: "Benchmarks/engine-benchmark",
            swiftSettings: strict),
        .executableTarget(
            name: "goodput-matrix", dependencies: ["TCPEngine", "TCPSegments", "TCPSimulation"],
            path: "Benchmarks/goodput-matrix", swiftSettings: strict),
        .executableTarget(
            name: "segments-benchmark", dependencies: ["TCPSegments"], path: "Benchmarks/segments-benchmark",
            swiftSettings: strict),
        .target(
            name: "FuzzTargets",
            dependencies: ["DaemonProtocol", "Impairments", "NetworkLayer", "TCPDrill", "TCPEngine", "TCPSegments"],
            path: "Fuzzing/FuzzTargets", swiftSettings: strict),
        .executableTarget(
            name: "chitcp-fuzz", dependencies: ["FuzzTargets"], path: "Fuzzing/chitcp-fuzz", swiftSettings: strict),
        .testTarget(name: "FuzzTests", dependencies: ["FuzzTargets"], swiftSettings: strict),
        .target(name: "CTestSupport", path: "Tests/CTestSupport"),
        .target(name: "TestSupport", path: "Tests/TestSupport", swiftSettings: strict),
        .testTarget(
            name: "TunTests",
            dependencies: [
                "CLinux", "CTestSupport", "Chisocket", "ControlRecords", "Daemon", "Impairments", "NetworkLayer",
                "TCPEngine", "TCPSegments", "TestSupport", "chitcp",
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "echo-server", dependencies: ["Chisocket"], path: "Samples/Swift/echo-server", swiftSettings: strict),
        .executableTarget(
            name: "echo-client", dependencies: ["Chisocket"], path: "Samples/Swift/echo-client", swiftSettings: strict),
        .executableTarget(
            name: "file-sender", dependencies: ["Chisocket"], path: "Samples/Swift/file-sender", swiftSettings: strict),
        .executableTarget(
            name: "http-server",
            dependencies: [
                "Chisocket", "NIOChisocket",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            path: "Samples/Swift/http-server", swiftSettings: strict),
        .target(name: "CLinux"),
        .target(
            name: "CPacketdrill",
            cSettings: [.enableWarning("all"), .enableWarning("extra"), .treatAllWarnings(as: .error)]),
        .target(
            name: "PacketdrillPlugin",
            dependencies: [
                "CPacketdrill", "NetworkLayer", "SocketLayer", "TCPEngine", "TCPSegments",
                .product(name: "DequeModule", package: "swift-collections"),
            ],
            swiftSettings: strict),
        .target(name: "ControlRecords"),
        .target(
            name: "ChitcpPreload", dependencies: ["ControlRecords"],
            cSettings: [.enableWarning("all"), .enableWarning("extra"), .treatAllWarnings(as: .error)],
            // It is loaded into programs that have nothing to do with Swift: these keep its runtime and start-up out.
            linkerSettings: [.unsafeFlags(["-enable-experimental-feature", "Embedded", "-nostartfiles"])]),
        .target(name: "CChitcp"),
        .target(name: "Chisocket", dependencies: ["CLinux", "ControlRecords"], swiftSettings: strict),
        .target(
            name: "NIOChisocket",
            dependencies: [
                "CLinux", "Chisocket",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            swiftSettings: strict),
        .testTarget(
            name: "ChisocketTests",
            dependencies: ["CChitcp", "CLinux", "Chisocket", "ControlRecords", "libchitcp"],
            swiftSettings: strict),
        .target(name: "libchitcp", dependencies: ["CChitcp", "CLinux", "Chisocket"], swiftSettings: strict),
        .testTarget(
            name: "CProgramTests", dependencies: ["TestSupport", "libchitcp", "chitcpd"],
            exclude: ["Packetdrill", "Programs"],
            swiftSettings: strict),
    ]
)
