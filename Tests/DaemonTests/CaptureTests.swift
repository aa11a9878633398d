// A capture of a real transfer, read by somebody else's program.
import Chisocket
import Glibc
import Impairments
import TestSupport
import Testing

@Suite("Captures", .timeLimit(.minutes(15)))
struct CaptureTests {
    @Test(
        "tshark reads a capture without complaint: nothing malformed, every checksum right, every byte there",
        .enabled(if: TShark.isThere, "tshark is not installed"), arguments: [(31, 0), (32, 20_000)])
    func tsharkReads(host: Int, loss: Int) throws {
        let folder = try TemporaryFolder()
        let capture = folder.path + "/capture.pcap"
        let a = try TestDaemon("127.89.\(host).1", in: folder) {
            $0.capturePath = capture
            var impairment = ImpairmentConfiguration()
            impairment.loss = loss
            $0.impairments = [ImpairmentRule(.out, impairment)]
        }
        let b = try TestDaemon("127.89.\(host).2", in: folder)
        let listener = try b.listener(port: 7)
        let client = try a.connect(to: b, port: 7)
        let server = try listener.acceptLimited()
        let sent = pattern(1_000_000)
        let writing = Background {
            try client.send(sent)
            try client.shutdown(.sending)
        }
        #expect(try server.receiveAll() == sent)
        try server.send(Array("done".utf8))
        server.close()
        #expect(try client.receiveAll() == Array("done".utf8))
        #expect(writing.join() == nil)
        client.close()
        a.stop()

        let rows = try TShark.rows(
            of: capture,
            [
                "ip.src", "tcp.flags.syn", "tcp.flags.fin", "tcp.checksum.status", "ip.checksum.status",
                "_ws.malformed",
                "tcp.len",
            ], in: folder)
        // 1: good.
        #expect(rows.allSatisfy { $0[3] == "1" && $0[4] == "1" }, "a wrong checksum")
        #expect(rows.allSatisfy { $0[5].isEmpty }, "a malformed packet")
        let syns = rows.filter { $0[1] == "1" }
        #expect(syns.count >= 2 && rows.filter { $0[2] == "1" }.count >= 2)
        let bytes = rows.filter { $0[0] == "127.89.\(host).1" }.reduce(0) { $0 + (Int($1[6]) ?? 0) }
        #expect(bytes >= sent.count)
    }
}
