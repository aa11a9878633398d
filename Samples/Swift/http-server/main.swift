// An HTTP server over chiTCP with SwiftNIO: serves the files of a folder; each connection is a task.
// usage: http-server PORT [FOLDER]
import Chisocket
import Foundation
import NIOChisocket
import NIOCore
import NIOHTTP1
import NIOPosix

typealias Connection = NIOAsyncChannel<HTTPServerRequestPart, HTTPServerResponsePart>

/// A file of the folder that a request names; nil for anything else.
func file(_ target: String, in folder: String) -> FileHandle? {
    guard let path = target.prefix(while: { $0 != "?" }).removingPercentEncoding, path.hasPrefix("/") else {
        return nil
    }
    // A link or a ".." may lead anywhere: what counts is where the file is.
    let base = URL(fileURLWithPath: folder).resolvingSymlinksInPath().path
    let place = URL(fileURLWithPath: base + path + (path.hasSuffix("/") ? "index.html" : "")).resolvingSymlinksInPath()
    var isFolder: ObjCBool = true
    guard place.path.hasPrefix(base == "/" ? base : base + "/"),
        FileManager.default.fileExists(atPath: place.path, isDirectory: &isFolder), !isFolder.boolValue
    else { return nil }
    return FileHandle(forReadingAtPath: place.path)
}

/// Answers a request; true if the connection may be kept for another.
func answer(
    _ request: HTTPRequestHead, from folder: String,
    to outbound: NIOAsyncChannelOutboundWriter<HTTPServerResponsePart>
) async throws {
    var status = HTTPResponseStatus.ok
    let isKnown = request.method == .GET || request.method == .HEAD
    let found = isKnown ? file(request.uri, in: folder) : nil
    if found == nil { status = isKnown ? .notFound : .notImplemented }
    let length = try found.map { file in
        defer { try? file.seek(toOffset: 0) }
        return try file.seekToEnd()
    }
    var head = HTTPResponseHead(version: request.version, status: status)
    head.headers.add(name: "content-length", value: "\(length ?? 0)")
    if !request.isKeepAlive { head.headers.add(name: "connection", value: "close") }
    try await outbound.write(.head(head))
    if request.method == .GET, let found {
        // A slow client holds this back: its window, and NIO's watermarks.
        while let piece = try found.read(upToCount: 65_536), !piece.isEmpty {
            try await outbound.write(.body(.byteBuffer(ByteBuffer(bytes: piece))))
        }
    }
    try await outbound.write(.end(nil))
}

/// Answers the requests of a connection, one after another.
func serve(_ connection: Connection, from folder: String) async {
    do {
        try await connection.executeThenClose { inbound, outbound in
            for try await case .head(let request) in inbound {
                try await answer(request, from: folder, to: outbound)
                if !request.isKeepAlive { break }
            }
            // FIN follows what is still on its way to the client; closing at once would drop that.
            try await connection.channel.close(mode: .output)
        }
    } catch {
        FileHandle.standardError.write(Data("http-server: a connection failed: \(error)\n".utf8))
    }
}

let arguments = CommandLine.arguments
guard (2...3).contains(arguments.count), let port = UInt16(arguments[1]), port > 0 else {
    FileHandle.standardError.write(Data("usage: http-server PORT [FOLDER]\n".utf8))
    exit(64)
}
let folder = arguments.count == 3 ? arguments[2] : "."

do {
    let server = try await ChisocketServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
        .childChannelOption(.allowRemoteHalfClosure, value: true)
        .bind(host: "0.0.0.0", port: Int(port)) { channel in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                return try Connection(wrappingChannelSynchronously: channel)
            }
        }
    print("listening on port \(port)")
    try await withThrowingDiscardingTaskGroup { group in
        try await server.executeThenClose { connections in
            for try await connection in connections {
                group.addTask { await serve(connection, from: folder) }
            }
        }
    }
} catch {
    FileHandle.standardError.write(Data("http-server: \(error)\n".utf8))
    exit(1)
}
