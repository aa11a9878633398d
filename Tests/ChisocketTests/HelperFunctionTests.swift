// The helper functions of the C headers.
import CChitcp
import Glibc
import Testing

@Suite struct HelperFunctions {
    /// Bytes and their checksum.
    struct Sum: Sendable {
        let bytes: [UInt8]
        let sum: UInt16
        init(_ bytes: [UInt8], _ sum: UInt16) { (self.bytes, self.sum) = (bytes, sum) }
    }

    @Test(
        "cksum is RFC 1071's in network order, never 0",
        arguments: [
            Sum([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7], 0x220d), Sum([], 0xffff),
            Sum([0xff, 0xff], 0xffff), Sum([0x12], 0xedff),
        ])
    func checksum(example: Sum) {
        #expect(UInt16(bigEndian: cksum(example.bytes, Int32(example.bytes.count))) == example.sum)
    }

    @Test("addresses are built, compared and printed")
    func addresses() {
        var address = sockaddr_in()
        #expect(chitcp_addr_construct(nil, "7", &address) == 0)
        withUnsafeMutablePointer(to: &address) { typed in
            typed.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
                #expect(chitcp_get_addr_port(raw) == UInt16(7).bigEndian)
                #expect(chitcp_addr_is_loopback(raw) == 1)
                var text = [CChar](repeating: 0, count: 32)
                #expect(chitcp_addr_str(raw, &text, text.count) != nil)
                #expect(strcmp(text, "127.0.0.1:7") == 0)
                chitcp_addr_set_any(raw)
                #expect(chitcp_addr_is_any(raw) == 1)
                #expect(chitcp_addr_cmp(raw, raw) == 0)
            }
        }
    }

    @Test("states have chiTCP's names", arguments: [(0, "CLOSED"), (3, "SYN_SENT"), (10, "LAST_ACK"), (11, "UNKNOWN")])
    func states(number: UInt32, name: String) {
        #expect(String(cString: tcp_str(tcp_state_t(rawValue: number))) == name)
    }
}
