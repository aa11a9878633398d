// Networks in text and what lies in them.
import TCPSegments
import Testing

@Suite("Prefixes") struct IPPrefixTests {
    @Test(
        "an address lies in a network if the bits that count agree",
        arguments: [
            ("10.77.0.2/24", "10.77.0.255", true), ("10.77.0.2/24", "10.77.1.0", false), ("0.0.0.0/0", "9.9.9.9", true),
            ("0.0.0.0/0", "::1", false), ("::/0", "fd00::1", true), ("::/0", "10.0.0.1", false),
            ("10.0.0.1/32", "10.0.0.1", true), ("10.0.0.1/32", "10.0.0.0", false), ("fd77::/64", "fd77::9:1", true),
            ("fd77::/64", "fd77:0:0:1::", false), ("fd77::/65", "fd77::7fff:0:0:1", true),
            ("fd77::/65", "fd77::8000:0:0:0", false), ("fd77::1/128", "fd77::1", true),
            ("fd77::1/128", "fd77::2", false), ("128.0.0.0/1", "200.0.0.1", true), ("128.0.0.0/1", "100.0.0.1", false),
        ])
    func contains(_ network: String, _ address: String, _ expected: Bool) throws {
        let prefix = try #require(IPPrefix(network))
        #expect(prefix.contains(try #require(IPAddress(address))) == expected)
        #expect(IPPrefix(prefix.description) == prefix)
    }

    @Test(
        "what is no network gives none",
        arguments: ["", "10.0.0.1", "10.0.0.1/", "10.0.0.1/33", "::/129", "/8", "a/8", "10.0.0.1/-1", "10.0.0.1/8/8"])
    func none(_ text: String) { #expect(IPPrefix(text) == nil) }
}
